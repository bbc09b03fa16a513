"""``make demo``: run a DAG against the local Paperspace, and show the tags before and after, read over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
HOME = REPOSITORY / ".demo"
DAG_ID, PROJECT_ID, API_KEY = "example_pipeline_stages", "prmximcci", "demo-key"


def main() -> int:
    try:
        import airflow_provider_paperspace.emulator.server  # noqa: F401  # fails early if the extra is not installed
    except ModuleNotFoundError as error:
        print(f"No module {error.name!r} in {sys.executable}. Run `make demo`, which installs what the demo needs.")
        return 1
    HOME.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "airflow_provider_paperspace.emulator", "--port", "0", "--api-key", API_KEY]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        greeting = server.stdout.readline().split()
        if len(greeting) < 4:
            print("The local Paperspace did not start; see its output above.")
            return 1
        url = greeting[3]
        threading.Thread(target=server.stdout.read, daemon=True).start()
        return demonstrate(url)
    finally:
        server.terminate()
        server.wait(10)


def demonstrate(url: str) -> int:
    print(f"Local Paperspace at {url}")
    before = tags(url)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW_CONN_PAPERSPACE_DEFAULT": f"paperspace://:{API_KEY}@{url.replace(':', '%3A').replace('/', '%2F')}",
    }
    print("Creating Airflow's database in .demo ...")
    if not run(environment, "db", "migrate"):
        return 1
    print(f"airflow dags test {DAG_ID} ...\n")
    if not run(environment, "dags", "test", DAG_ID, show="Project "):
        return 1
    print(f"\nTags of project {PROJECT_ID}, read directly over HTTP:")
    print(f"  before: {', '.join(before)}")
    after = tags(url)
    print(f"  after:  {', '.join(after)}")
    return 0 if "production" in after else 1


def run(environment: dict[str, str], *arguments: str, show: str = "") -> bool:
    """Run Airflow's command line; show the lines that contain ``show``, and the end of the log if it fails."""
    log = HOME / f"{arguments[0]}.log"
    command = [sys.executable, "-m", "airflow", *arguments]
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        log.open("w") as kept,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if show and show in line:
                print("  " + line[line.index(show) :].split(" [airflow_provider_paperspace", 1)[0].rstrip())
    text = log.read_text()
    if process.returncode or "state=failed" in text or "state:failed" in text:
        print(
            f"{text[-5_000:]}\nairflow {' '.join(arguments)} failed; the full log is in {log.relative_to(REPOSITORY)}."
        )
        return False
    return True


def tags(url: str) -> list[str]:
    request = urllib.request.Request(  # noqa: S310  # our own server
        f"{url}/projects/{PROJECT_ID}/tags?limit=120&order=asc", headers={"Authorization": f"Bearer {API_KEY}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return [tag["name"] for tag in json.load(answer)["items"]]


if __name__ == "__main__":
    sys.exit(main())
