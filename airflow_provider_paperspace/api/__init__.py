"""The Paperspace API without Airflow: usable from a plain script.

>>> from airflow_provider_paperspace.api.settings import ClientSettings
>>> from airflow_provider_paperspace.api.sync_client import PaperspaceClient
>>> client = PaperspaceClient(ClientSettings(api_key="..."))
"""
