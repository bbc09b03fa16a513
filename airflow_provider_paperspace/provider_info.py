"""The provider's description for Airflow.

Literals only: Airflow loads this module at every start. The connection form is defined here once: Airflow 3.2 and later
read it here, and the hook passes the same table to the versions before that.
"""


def get_provider_info() -> dict[str, object]:
    """Return the provider's description, in the form of Airflow's provider info schema."""
    return {
        "package-name": "airflow-provider-paperspace",
        "name": "Paperspace",
        "description": "Use the tags of [Paperspace](https://www.paperspace.com/) projects as a pipeline signal.",
        "versions": ["0.1.0"],
        "integrations": [
            {
                "integration-name": "Paperspace",
                "external-doc-url": "https://docs.digitalocean.com/products/paperspace/",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "paperspace",
                "hook-class-name": "airflow_provider_paperspace.hooks.paperspace.PaperspaceHook",
                "hook-name": "Paperspace",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port", "extra"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {
                        "password": "from the Paperspace console: Team settings > API keys",
                        "host": "https://api.paperspace.com/v1",
                        "timeout": "30",
                        "max_attempts": "5",
                        "team": "acme, as in console.paperspace.com/acme",
                        "console_url": "https://console.paperspace.com",
                        "proxy": "http://proxy.example.org:3128",
                        "protected_tags": "prod, release:*",
                    },
                },
                "conn-fields": {
                    "timeout": {
                        "label": "Timeout",
                        "description": "Maximum seconds for one attempt. Default: 30.",
                        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "max_attempts": {
                        "label": "Max attempts",
                        "description": "Maximum number of times a request is sent. Default: 5.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "team": {
                        "label": "Team",
                        "description": "The team's namespace, such as acme in console.paperspace.com/acme. Adds a link "
                        "from each task to its project in the console.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "console_url": {
                        "label": "Console URL",
                        "description": "Address of the Paperspace console, for links. Default: https://console.paperspace.com.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "proxy": {
                        "label": "Proxy",
                        "description": "The proxy for this connection, as http://host:port or "
                        "http://user:password@host:port. Default: the proxy set in the environment.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "protected_tags": {
                        "label": "Protected tags",
                        "description": "Tags that are never removed through this connection: names or patterns, with "
                        "commas between them, such as prod, release:*. Default: none.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
        "hooks": [
            {
                "integration-name": "Paperspace",
                "python-modules": ["airflow_provider_paperspace.hooks.paperspace"],
            }
        ],
        "sensors": [
            {
                "integration-name": "Paperspace",
                "python-modules": ["airflow_provider_paperspace.sensors.project_tags"],
            }
        ],
        "triggers": [
            {
                "integration-name": "Paperspace",
                "python-modules": [
                    "airflow_provider_paperspace.triggers.project_tags",
                    "airflow_provider_paperspace.triggers.project_tag_events",
                ],
            }
        ],
        # Airflow 3 reads the first of the two, Airflow 2 the second.
        "asset-uris": [{"schemes": ["paperspace"], "handler": "airflow_provider_paperspace.assets.normalize_uri"}],
        "dataset-uris": [{"schemes": ["paperspace"], "handler": "airflow_provider_paperspace.assets.normalize_uri"}],
        "notifications": ["airflow_provider_paperspace.notifications.project_tags.ProjectTagNotifier"],
        "extra-links": ["airflow_provider_paperspace.links.paperspace.PaperspaceProjectLink"],
        "operators": [
            {
                "integration-name": "Paperspace",
                "python-modules": [
                    "airflow_provider_paperspace.operators.clean_up",
                    "airflow_provider_paperspace.operators.lease",
                    "airflow_provider_paperspace.operators.project_tags",
                    "airflow_provider_paperspace.operators.projects",
                ],
            }
        ],
    }
