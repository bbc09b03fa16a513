"""A local Paperspace: stateful, on loopback, for trying and testing without an account.

It shares nothing with the client but :mod:`airflow_provider_paperspace.api.protocol`, and the provider never
imports it.
"""
