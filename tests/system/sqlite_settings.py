"""How Airflow connects to its database: on a busy machine a lock may be held for longer than SQLite's five seconds."""

CONNECT_ARGS = {"timeout": 60}
