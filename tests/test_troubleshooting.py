"""Each message on the page *Troubleshooting* is raised by the code, and the page is right about the retries."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import airflow
import pytest

from airflow_provider_paperspace._arguments import NOT_SET
from airflow_provider_paperspace._compat import AirflowFailException
from airflow_provider_paperspace.api import ClientSettings, PaperspaceClient, errors
from airflow_provider_paperspace.api._messages import Request, Response, error_of
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook
from airflow_provider_paperspace.operators._base import raise_for_failures
from airflow_provider_paperspace.operators._batch import BatchResult
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.operators.lease import TakeProjectTagLeaseOperator
from airflow_provider_paperspace.operators.project_tags import (
    AddProjectTagOperator,
    RemoveProjectTagOperator,
    SetProjectTagsOperator,
    UndoProjectTagChangeOperator,
)
from airflow_provider_paperspace.operators.projects import ListProjectsOperator
from airflow_provider_paperspace.sensors.project_tags import ProjectTagSensor
from airflow_provider_paperspace.triggers.project_tags import ProjectTagTrigger
from tests.conftest import REPOSITORY
from tests.operators.task import Task, rendered
from tests.secret_watch import API_KEY
from tests.triggers.polls import first_event

PAGE = (REPOSITORY / "docs/troubleshooting.md").read_text()
ENTRIES = dict(re.findall(r"^### `([^`\n]+)`\n\n(.*?)(?=\n#|\Z)", PAGE, re.DOTALL | re.MULTILINE))
NOT_RETRIED = re.compile(r"\*Not\s+retried")
ON_AIRFLOW_2 = airflow.__version__ < "3"


class World:
    """A local Paperspace with a project ``p1``, and a connection to it that tries each request once."""

    def __init__(self, server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.monkeypatch = server, monkeypatch
        self.connect()

    def connect(self, *, host: str = "", password: str = API_KEY, **extra: Any) -> None:
        self.monkeypatch.setenv(
            "AIRFLOW_CONN_PAPERSPACE_DEFAULT",
            re.sub(
                r'"host": "[^"]*"',
                f'"host": "{host or self.server.url}"',
                self.server.connection_json(**{"max_attempts": 1, **extra}).replace(API_KEY, password),
            ),
        )

    def client(self, **arguments: Any) -> PaperspaceClient:
        settings = ClientSettings(api_key=API_KEY, base_url=self.server.url, max_attempts=1)
        return PaperspaceClient(settings, **arguments)


@pytest.fixture
def world(server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, airflow_db: object) -> World:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return World(server, monkeypatch)


Case: TypeAlias = Callable[[World], Any]


def add(name: str = "x", **arguments: Any) -> Any:
    return Task(AddProjectTagOperator, **{"project_id": "p1", "tags": name, **arguments}).run()


def after(prepare: Callable[[World], object], act: Callable[[], Any] = add) -> Case:
    """Return the case in which something happens after something else was prepared."""

    def case(world: World) -> Any:
        prepare(world)
        return act()

    return case


def answered(kind: str, act: Callable[[], Any] = add, **options: Any) -> Case:
    return after(lambda world: world.server.fault(kind, **options), act)


def connected(**settings: Any) -> Case:
    return after(lambda world: world.connect(**settings))


def of_task(kind: type[Any], **arguments: Any) -> Case:
    return lambda _: Task(kind, **arguments).run()


def pressed(**settings: Any) -> Case:
    """Return the case in which somebody presses the Test button."""
    return after(lambda world: world.connect(**settings), lambda: PaperspaceHook().test_connection()[1])


def redirected(_: World) -> None:
    request = Request("GET", "/projects/p1/tags", "Project 'p1'", "read its tags")
    raise error_of(request, Response(302, {"location": "https://login.example.org/"}, b""))


def other_spelling(world: World) -> None:
    world.server.reset(seed={"projects": [{"id": "p1", "tags": ["gpu"]}]}, switches={"case": "insensitive"})
    add("GPU")


def nothing_readable(world: World) -> None:
    world.server.fault("lost-answer", method="POST")
    world.server.fault("500", method="GET", at=2, times=0)
    add()


def out_of_time(world: World) -> None:
    with world.client(budget_s=0) as client:
        client.list_project_tags("p1")


def other_writer(world: World) -> None:
    add_tag = world.server.paperspace.add_tag

    def add_both(project_id: str, body: Any) -> Any:
        add_tag(project_id, {"name": "stage:other"})
        return add_tag(project_id, body)

    world.monkeypatch.setattr(world.server.paperspace, "add_tag", add_both)
    Task(SetProjectTagsOperator, project_id="p1", tags="stage:mine", within="stage:").run()


def held_lease(world: World) -> None:
    world.server.paperspace.add_tag("p1", {"name": "in-use/other-12345678"})
    Task(TakeProjectTagLeaseOperator, project_id="p1", tags="in-use", lease_id="lease", exclusive=True).run()


def same_name(world: World) -> None:
    world.server.paperspace.add_project("p2", "one")
    Task(AddProjectTagOperator, project_name="one", tags="x").run()


def masked(world: World) -> str:
    """Let Airflow mask a short secret, and return what it logs."""
    masker = importlib.import_module("airflow.sdk._shared.secrets_masker.secrets_masker")
    logged: list[str] = []
    world.monkeypatch.setattr(masker.SecretsMasker, "_has_warned_short_secret", False)
    world.monkeypatch.setattr(masker.log, "warning", lambda text, *args, **_: logged.append(text % args))
    importlib.import_module("airflow.sdk.log").mask_secret("abc")
    return logged[0]


def stopped(_: World) -> None:
    raise_for_failures(BatchResult(done={"p1": 1}, remaining=["p2"]))


def timed_out_wait(_: World) -> str:
    arguments = {"tags": ["never"], "mode_of_match": "all", "paperspace_conn_id": "paperspace_default"}
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    payload = first_event(ProjectTagTrigger(project_id="p1", deadline=past, **arguments))  # type: ignore[arg-type]
    return str(payload["message"])


def failed_polls(world: World) -> str:
    world.server.fault("500", times=0)
    arguments = {"tags": ["never"], "mode_of_match": "all", "paperspace_conn_id": "paperspace_default"}
    payload = first_event(ProjectTagTrigger(project_id="p1", max_failures=0, poke_interval=0, **arguments))  # type: ignore[arg-type]
    return str(payload["message"])


def sensor(**arguments: Any) -> ProjectTagSensor:
    return ProjectTagSensor(task_id="wait", project_id="p1", tags="never", **arguments)


def import_again(module: str) -> Case:
    """Return the case in which a DAG imports a module."""

    def case(world: World) -> None:
        world.monkeypatch.delitem(sys.modules, f"airflow_provider_paperspace.{module}", raising=False)
        importlib.import_module(f"airflow_provider_paperspace.{module}")

    return case


def without_the_extra(world: World) -> str:
    from airflow_provider_paperspace.emulator.__main__ import main

    printed: list[str] = []
    world.monkeypatch.setattr("argparse.ArgumentParser.error", lambda parser, text: printed.append(text) or sys.exit(2))
    world.monkeypatch.setitem(sys.modules, "airflow_provider_paperspace.emulator.server", None)
    with pytest.raises(SystemExit):
        main([])
    return printed[0]


CLEAN_UP = {"all_projects": True, "names": "gpu"}
REPORT = {"planned": [], "rules": {"expired": False, "now": "2026-11-24T00:00:00+00:00", "names": ["x"]}}
UNDO = UndoProjectTagChangeOperator

CASES: dict[str, Case] = {
    "the service answered 400 …": after(
        lambda w: w.server.reset(seed={"projects": [{"id": "p1"}]}, switches={"longest-name": "3/400"}),
        lambda: add("long"),
    ),
    "the service answered 401 …": answered("401"),
    "the service answered 403 …": answered("403"),
    "the service answered 404 …": lambda _: add(project_id="unknown"),
    "the service answered 409 …": answered("409", method="POST", times=0),
    "the service answered 413 …": lambda _: add("x" * 200_000),
    "the service answered 429 …": answered("429"),
    "The service asked the client to wait …": answered("429", retry_after=3600),
    "the service answered 500 …": answered("500"),
    "the service answered 302, a redirect to …; refusing to send the API key there": redirected,
    "the response does not match the API specification: …": answered("wrong-types", method="GET"),
    "the service answered with the tag …": other_spelling,
    "Unknown whether the attempt to … took effect": nothing_readable,
    "timed out after … s": after(lambda w: (w.connect(timeout=0.05), w.server.fault("slow", seconds=1))),
    "the connection… failed or was closed …": answered("reset"),
    "the TLS connection… failed…": after(lambda w: w.connect(host=w.server.url.replace("http:", "https:"))),
    "… points to CA certificates that do not exist": after(
        lambda w: (
            w.connect(host="https://api.paperspace.com"),
            w.monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem"),
        )
    ),
    "the proxy … did not open a connection…": connected(
        host="https://paperspace.invalid/v1", proxy="http://127.0.0.1:9"
    ),
    "the time limit … was exceeded": out_of_time,
    "Airflow has no connection …": lambda _: add(paperspace_conn_id="no_such"),
    "has no API key": connected(password=" "),
    "The API key contains a space, a line break or another character that is never part of a key": connected(
        password="two words"
    ),
    "http:// would send the API key in clear text. Use https://": connected(host="http://api.paperspace.com/v1"),
    "must start with 'https://' and a host": connected(host="ftp://api.paperspace.com/v1"),
    "The base URL contains a user name or password": connected(host="https://key@api.paperspace.com/v1"),
    "The base URL has a query or a fragment": connected(host="https://api.paperspace.com/v1?x=1"),
    "There is no Paperspace API at … (404)": after(
        lambda w: w.connect(host=w.server.url + "/no/api"), lambda: PaperspaceHook().test_connection()[1]
    ),
    "Paperspace does not accept this API key": pressed(password="wrong-key"),
    "The proxy must be a URL such as …": connected(proxy="proxy.example.org"),
    "only http:// proxies are supported": connected(proxy="socks5://proxy.example.org:1080"),
    "Extra '…' must be …": connected(timeout="soon"),
    "Skipping masking for a secret as it's too short": masked,
    "set exactly one of …": of_task(AddProjectTagOperator, tags="x"),
    "… is None. Did the upstream task return nothing?": lambda _: rendered(
        AddProjectTagOperator, "project_id", None, tags="x"
    ).run(),
    "… is blank. Did a template render to nothing?": lambda _: rendered(
        AddProjectTagOperator, "tags", "", project_id="p1"
    ).run(),
    "… is the text 'None'. Did a template render a missing or empty value?": lambda _: rendered(
        AddProjectTagOperator, "tags", "None", project_id="p1"
    ).run(),
    "… is empty.": of_task(CleanUpProjectTagsOperator, all_projects=True, names=[]),
    "tags is empty, which would remove …": of_task(SetProjectTagsOperator, project_id="p1", tags=[], within="stage:"),
    "… a value that a template rendered to text. Pass the value itself …": lambda _: rendered(
        AddProjectTagOperator, "tags", "['a', 'b']", project_id="p1"
    ).run(),
    "… is a list of lists, one for each mapped task": lambda _: add(tags=[["a"], ["b"]]),
    "project_ids is the string …; it must be a list": of_task(AddProjectTagOperator, project_ids="p1", tags="x"),
    "The tag name … is blank": lambda _: PaperspaceHook().add_project_tags("p1", [" "]),
    "contains half of a surrogate pair and cannot be sent": lambda _: add("\ud83d"),
    "whose '[' is never closed": of_task(CleanUpProjectTagsOperator, all_projects=True, names="exp[1"),
    "… not start with …": of_task(SetProjectTagsOperator, project_id="p1", tags="x", within="stage:"),
    "… already has a date": lambda _: add("demo@2026-12-01", expires_in=timedelta(days=7)),
    "… which is in the past: the tag would have expired by the time it was added": lambda _: add(
        expires_on="2020-01-01"
    ),
    "not on the project: …": of_task(RemoveProjectTagOperator, project_id="p1", tags="x", missing_ok=False),
    "… protected by connection …": after(
        lambda w: w.connect(protected_tags="gpu"),
        lambda: Task(RemoveProjectTagOperator, project_id="p1", tags="gpu").run(),
    ),
    "another writer … at the same time": other_writer,
    "another run holds it: …": held_lease,
    "no project has this name": of_task(AddProjectTagOperator, project_name="One", tags="x"),
    "… projects have this name: …": same_name,
    "no project is named …": of_task(ListProjectsOperator, name="two"),
    "change is None: the other task left no change record": lambda _: rendered(UNDO, "change", None).run(),
    "… it must be the XCom 'change' of a task that changes tags": of_task(UNDO, change="x"),
    "… failed; completed changes are kept": answered(
        "500", lambda: add(project_id=NOT_SET, project_ids=["p1"]), times=0
    ),
    "The task was stopped …": stopped,
    "… more than max_removals=…; nothing was removed": of_task(CleanUpProjectTagsOperator, **CLEAN_UP, max_removals=0),
    "… it must be the complete report of a CleanUpProjectTagsOperator": of_task(
        CleanUpProjectTagsOperator, plan=["gpu"]
    ),
    "plan has no rules": of_task(CleanUpProjectTagsOperator, plan={"planned": []}),
    "with plan, leave out names, older_than and expired": of_task(CleanUpProjectTagsOperator, plan=REPORT, names="gpu"),
    "No tag can be stale": of_task(CleanUpProjectTagsOperator, all_projects=True, expired=False),
    "its tags did not meet the condition … by …": timed_out_wait,
    "… polls in a row failed. The last error: …": failed_polls,
    "Skipped instead of failing: …": answered("403", lambda: sensor(deferrable=True, soft_fail=True).execute({})),
    "unexpected event from ProjectTagTrigger": lambda _: sensor().execute_complete({}, {"status": "?"}),
    "ProjectTagEventTrigger needs the event-driven scheduling of Airflow 3.0 and later": import_again(
        "triggers.project_tag_events"
    ),
    "PaperspaceRetryPolicy needs the retry policies of Airflow 3.3 and later": import_again("retry_policy"),
    "pip install 'airflow-provider-paperspace[emulator]'": without_the_extra,
}
"""What leads to each message: a call that raises it, or returns it if it is only shown."""

ONLY_ON_AIRFLOW_2 = [heading for heading in CASES if "and later" in heading]
ONLY_ON_AIRFLOW_3 = ["Skipping masking for a secret as it's too short"]


def test_the_page_and_the_table_have_the_same_messages() -> None:
    assert list(ENTRIES) == list(CASES)


@pytest.mark.parametrize("heading", CASES)
def test_a_message_of_the_page_comes_from_the_code(world: World, heading: str) -> None:
    if heading in (ONLY_ON_AIRFLOW_3 if ON_AIRFLOW_2 else ONLY_ON_AIRFLOW_2):
        pytest.skip("not on this line of Airflow")
    try:
        message, error = CASES[heading](world), None
    except Exception as raised:  # noqa: BLE001  # which kind is for the next test
        message, error = str(raised), raised
    pattern = re.escape(heading).replace("…", ".*")
    assert re.search(pattern, str(message), re.DOTALL), f"{message!r} is not {heading!r}"
    if error is not None and heading not in ONLY_ON_AIRFLOW_2:
        says_so = NOT_RETRIED.search(ENTRIES[heading]) is not None
        assert says_so is is_permanent(error), f"the page says *Not retried*: {says_so}; {error!r}"


def is_permanent(error: Exception) -> bool:
    return isinstance(error, AirflowFailException) or getattr(error, "is_permanent", False)


@pytest.mark.parametrize("status", ["502", "503", "504"])
def test_errors_of_the_service_have_the_same_advice(world: World, status: str) -> None:
    advice = errors.ApiError(500, "", "").advice
    world.server.fault(status)
    with pytest.raises(errors.ServerError, match=f"answered {status}.*{re.escape(advice)}"):
        add()
