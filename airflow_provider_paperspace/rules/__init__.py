"""Pure decisions about tags: which match, which expire, which are stale, which are waited for.

No module here depends on requests, clocks or Airflow; of the API, they use only :class:`~..api.models.Tag`.
"""
