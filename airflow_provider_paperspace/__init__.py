"""Apache Airflow provider for Paperspace project tags."""

__version__ = "0.1.0"
