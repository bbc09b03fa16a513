"""The probe: it finds out each switch of the local Paperspace, and leaves nothing behind however it ends.

The flows run against the state of a local Paperspace, without sockets; tests/test_probe_command.py has the command.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_paperspace.api._messages import Request, Response
from airflow_provider_paperspace.api._probe import MAX_REQUESTS, QUESTIONS, Probe
from airflow_provider_paperspace.api.errors import PaperspaceError, TransportError
from airflow_provider_paperspace.emulator.state import Paperspace, RefusalError
from airflow_provider_paperspace.emulator.switches import CHOICES, Switches

VALUES: Final = {
    **{name: list(choices) for name, choices in CHOICES.items()},
    "default-page-size": ["7", "50", "119"],
    "longest-name": ["none", "16/400", "24/500", "64/400", "64/500", "255/400", "255/500", "1023/400"],
}
FOUND: Final = [(name, value) for name, values in VALUES.items() for value in values if name != "foreign-project"]
DEFAULTS: Final = {name: choices[0] for name, choices in CHOICES.items()}

MANY_TAGS: Final = [f"t{number:03}" for number in range(130)]

RATE_LIMIT: Final = {"x-ratelimit-limit": "600"}


class Service:
    """The state of a local Paperspace, which answers the requests of a flow.

    :param fault: called with the number of each request, from 1; returns "", or what goes wrong.
    """

    def __init__(
        self,
        tags: list[str],
        *,
        projects: int = 2,
        fault: Callable[[int, Request], str] = lambda number, request: "",
        **switches: str,
    ) -> None:
        self.switches = Switches().with_values({name.replace("_", "-"): value for name, value in switches.items()})
        seed = [{"id": f"p{number}", "tags": tags if number == 1 else []} for number in range(1, projects + 1)]
        self.paperspace = Paperspace({"projects": seed}, switches=self.switches)
        self.tags = tags
        self.requests = 0
        self._fault = fault

    def __call__(self, request: Request) -> Response:
        self.requests += 1
        fault = self._fault(self.requests, request)
        if fault.isdigit():
            return self._response(int(fault), {"message": "no", "code": "FAULT"})
        if fault == "interrupted before":
            raise KeyboardInterrupt
        if fault == "reset":
            raise TransportError("reset")
        try:
            response = self._response(200, self._operate(request))
        except RefusalError as refusal:
            body: dict[str, Any] = {"message": refusal.message, "code": refusal.code}
            if refusal.problems and self.switches.error_extras != "none":
                body[self.switches.error_extras] = [{"message": problem} for _, problem in refusal.problems]
            response = self._response(refusal.status, body)
        if fault == "interrupted after":
            raise KeyboardInterrupt
        if fault == "lost-answer":
            raise TransportError("reset")
        return response

    def _response(self, status: int, value: Any) -> Response:
        headers = RATE_LIMIT if self.switches.rate_limit_headers == "sent" else {}
        return Response(status, headers, json.dumps(value).encode())

    def _operate(self, request: Request) -> Any:
        path, query = urlsplit(request.target).path, dict(parse_qsl(urlsplit(request.target).query))
        if path == "/projects":
            return self.paperspace.list_projects(query)
        assert path == "/projects/p1/tags"
        if request.method == "POST":
            return self.paperspace.add_tag("p1", json.loads(request.body or b""))
        if request.method == "DELETE":
            return self.paperspace.remove_tag("p1", query)
        return self.paperspace.list_tags("p1", query)

    def assert_nothing_is_left(self) -> None:
        assert sorted(self.paperspace.tag_names("p1")) == sorted(self.tags)
        assert self.requests <= MAX_REQUESTS


def ask(service: Service) -> tuple[Probe, str]:
    """Run the probe, and clean up as the command does; return the probe and why it failed, if it did."""
    probe, failures = Probe("p1", "0123abcd"), []
    for flow in (probe.run(), probe.clean_up(), probe.clean_up()):
        try:
            drive(flow, service)
        except KeyboardInterrupt:
            failures.append("interrupted")
        except PaperspaceError as error:
            failures.append(str(error))
    assert probe.requests == service.requests
    return probe, "".join(failures)


def drive(flow: Any, service: Service) -> None:
    try:
        request = next(flow)
        while True:
            try:
                response = service(request)
            except TransportError as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration:
        return


def found(probe: Probe) -> dict[str, str]:
    return {finding.question.switch: finding.value for finding in probe.findings if finding.value}


def texts(probe: Probe) -> dict[str, str]:
    return {finding.question.switch: finding.text for finding in probe.findings}


@pytest.mark.parametrize(("switch", "value"), FOUND, ids=[f"{switch}={value}" for switch, value in FOUND])
def test_each_value_of_each_switch_is_found(switch: str, value: str) -> None:
    service = Service(MANY_TAGS, **{switch: value})
    probe, failure = ask(service)
    assert (failure, found(probe).keys() | {"foreign-project"}) == ("", set(CHOICES))
    assert Switches().with_values(found(probe)) == service.switches
    service.assert_nothing_is_left()


@pytest.mark.parametrize("longest_name", VALUES["longest-name"])
def test_values_do_not_hide_each_other(longest_name: str) -> None:
    names = ("add-existing", "case", "remove-absent", "tag-identity", "error-extras")
    for values in itertools.product(*(VALUES[name] for name in names)):
        service = Service(MANY_TAGS, **dict(zip(names, values, strict=True)), longest_name=longest_name)
        probe, failure = ask(service)
        assert (failure, Switches().with_values(found(probe))) == ("", service.switches)
        service.assert_nothing_is_left()


def test_what_one_key_cannot_find_out_stays_open() -> None:
    service = Service(["gpu"], foreign_project="403")
    probe, _ = ask(service)
    assert texts(probe)["foreign-project"] == "open: cannot be determined with one key"
    assert texts(probe)["default-page-size"] == "open: at least 2; needs more tags or projects"
    assert {"foreign-project", "default-page-size"} & set(found(probe)) == set()
    service.assert_nothing_is_left()


def test_a_limit_that_no_name_of_the_probe_keeps_stays_open() -> None:
    service = Service(["gpu"], longest_name="15/400")
    probe, failure = ask(service)
    text = "open: a name of 16 characters, the shortest that was tried, was refused with 400"
    assert (failure, texts(probe)["longest-name"]) == ("", text)
    assert {"longest-name", "add-existing", "case"} & set(found(probe)) == set()
    service.assert_nothing_is_left()


def test_the_team_may_tell_the_page_size() -> None:
    assert found(ask(Service([], projects=60, default_page_size="33"))[0])["default-page-size"] == "33"


def test_a_long_list_leads_to_the_last_page_by_the_projects() -> None:
    tags = [f"t{number:04}" for number in range(700)]
    assert found(ask(Service(tags, last_page_cursor="absent"))[0])["last-page-cursor"] == "absent"
    text = "open: the project has more than 480 tags, and the team more than 120 projects"
    assert texts(ask(Service(tags, projects=200))[0])["last-page-cursor"] == text


def test_the_assumptions_are_the_defaults_of_the_switches() -> None:
    assert {question.switch for question in QUESTIONS} == set(CHOICES)
    words = {"team": "the same id", "sensitive": "are different"}
    for question in QUESTIONS:
        default = CHOICES[question.switch][0]
        assert question.assumed == ("no limit" if question.switch == "longest-name" else words.get(default, default))


ENDINGS: Final = ["reset", "lost-answer", "429", "500", "403", "interrupted before", "interrupted after"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("switches", [{}, {"longest_name": "64/500", "add_existing": "500"}], ids=str)
def test_no_tag_is_left_whatever_happens_at_any_request(ending: str, switches: dict[str, str]) -> None:
    for at in range(1, MAX_REQUESTS):
        service = Service(["gpu"], fault=lambda number, _, at=at: ending if number == at else "", **switches)  # type: ignore[misc]
        probe, failure = ask(service)
        service.assert_nothing_is_left()
        assert not probe.names
        if ending.startswith("interrupted"):
            assert failure == ("interrupted" if at <= service.requests else "")
        if ending in ("reset", "lost-answer", "429"):
            # It may leave a question open; it never leads to a wrong value.
            values = {name.replace("_", "-"): value for name, value in switches.items()}
            assert found(probe).items() <= (DEFAULTS | values).items()


@pytest.mark.parametrize("ending", ["reset", "lost-answer", "429", "500", "403"])
def test_no_more_than_sixty_requests_are_sent_whatever_fails(ending: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        for start in range(1, 30):
            service = Service(
                ["gpu"],
                fault=lambda n, r, start=start, method=method: ending if n >= start and r.method == method else "",  # type: ignore[misc]
            )
            probe, failure = ask(service)
            assert service.requests <= MAX_REQUESTS
            left = [name for name in service.paperspace.tag_names("p1") if name != "gpu"]
            assert set(left) <= probe.names, "what is left is named"
            assert len(left) <= 1, "once a tag cannot be removed, no more are added"
            assert failure or method != "GET" or start > 1


@pytest.mark.parametrize("ending", ["401", "403", "500", "reset"])
def test_a_project_that_cannot_be_read_is_not_written_to(ending: str) -> None:
    methods: list[str] = []

    def fault(_: int, request: Request) -> str:
        methods.append(request.method)
        return ending

    _, failure = ask(Service([], fault=fault))
    assert failure
    assert set(methods) == {"GET"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[]", "open: a list request returned 200 and no valid page"),
        (b"no JSON", "open: a list request returned 200 and no valid page"),
        (b'{"items": [7]}', "open: a list request returned 200 and no valid page"),
        (b'{"items": [], "hasMore": false, "nextPage": "x"}', "'x'"),
    ],
)
def test_an_unexpected_page_is_no_finding(body: bytes, text: str) -> None:
    class Strange(Service):
        def __call__(self, request: Request) -> Response:
            response = super().__call__(request)
            return Response(200, {}, body) if self.requests == 1 else response

    probe, failure = ask(Strange(["gpu"]))
    assert (failure, texts(probe)["last-page-cursor"]) == ("", text)
    assert "last-page-cursor" not in found(probe)


def test_a_service_that_cuts_names_is_noticed() -> None:
    service = Service(["gpu"])
    add_tag = service.paperspace.add_tag
    service.paperspace.add_tag = lambda id_, body: add_tag(id_, {"name": body["name"][:64]})  # type: ignore[method-assign]
    probe, failure = ask(service)
    assert failure == ""
    assert texts(probe)["longest-name"] == "open: a name of 1,024 characters was stored with 64 characters"
    service.assert_nothing_is_left()


def test_an_answer_without_a_name_is_noticed() -> None:
    class Nameless(Service):
        def __call__(self, request: Request) -> Response:
            response = super().__call__(request)
            return Response(200, {}, b"{}") if request.body and b"xx" in request.body else response

    service = Nameless(["gpu"])
    probe, failure = ask(service)
    text = "open: the answer to adding a name of 1,024 characters contained no name"
    assert (failure, texts(probe)["longest-name"]) == ("", text)
    service.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("status", "switch", "text"),
    [
        ("201", "remove-absent", "201"),
        ("429", "remove-absent", "open: the service asked the probe to slow down (429)"),
        ("409", "longest-name", "open: adding a name of 1,024 characters returned 409"),
        ("413", "longest-name", "open: a name of 16 characters, the shortest that was tried, was refused with 413"),
        ("200", "error-extras", "no error"),
    ],
)
def test_a_status_without_a_switch_is_told_in_words(status: str, switch: str, text: str) -> None:
    def fault(_: int, request: Request) -> str:
        name = json.loads(request.body)["name"] if request.body else ""
        affected = {
            "remove-absent": request.target.endswith("absent"),
            "longest-name": name.endswith("x"),
            "error-extras": request.target.endswith("limit=0"),
        }
        return status if affected[switch] else ""

    probe, failure = ask(Service(["gpu"], fault=fault))
    assert (failure, texts(probe)[switch], found(probe).get(switch)) == ("", text, None)
