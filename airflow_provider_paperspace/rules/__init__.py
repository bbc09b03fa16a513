"""Pure decisions about tags: which match, which expire, which are stale, which are waited for.

No module here knows requests, clocks or Airflow; of the API, they know only :class:`~..api.models.Tag`.
"""
