"""A local server that behaves like Paperspace, to try out and test DAGs without an account.

It shares only :mod:`airflow_provider_paperspace.protocol` with the client, and the provider never imports it.
"""
