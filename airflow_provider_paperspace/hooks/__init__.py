"""Hooks: Airflow connections to Paperspace."""
