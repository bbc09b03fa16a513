"""What the documentation says is what the code does."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace import __version__
from airflow_provider_paperspace.api import protocol, retries, walks
from airflow_provider_paperspace.api.many import DEFAULT_MAX_CONCURRENCY, GRACE_S
from airflow_provider_paperspace.api.settings import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S
from airflow_provider_paperspace.emulator.__main__ import _parser as emulator_parser
from airflow_provider_paperspace.emulator.faults import KINDS
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.state import Paperspace
from airflow_provider_paperspace.emulator.switches import CHOICES
from airflow_provider_paperspace.hooks.opening import BEYOND_RETRY
from airflow_provider_paperspace.triggers.project_tag_wait import DEFAULT_MAX_FAILURES, LAST_LOOK_S
from airflow_provider_paperspace.triggers.watch import SLOWEST
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text()


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            found.append((f"{page.name}-{number}", code))
    return found


def table(page: str, header: str) -> list[list[str]]:
    """Give the cells of the table whose header line begins so."""
    lines = text_of(page).partition(f"| {header}")[2].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("code", [code for _, code in blocks("python")], ids=[name for name, _ in blocks("python")])
def test_every_python_snippet_runs(
    code: str,
    server: LocalPaperspaceServer,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.reset()
    monkeypatch.setenv("PAPERSPACE_API_KEY", API_KEY)
    monkeypatch.setenv("PAPERSPACE_API_URL", server.url)
    fixtures = {"paperspace_server": server, "paperspace_connection": connection}
    namespace: dict[str, object] = {}
    exec(code, namespace)  # noqa: S102  # our own pages
    for name, test in list(namespace.items()):
        if name.startswith("test_") and isinstance(test, Callable):  # type: ignore[arg-type]
            test(**{argument: fixtures[argument] for argument in inspect.signature(test).parameters})  # type: ignore[operator]


def test_every_command_that_a_page_shows_is_one() -> None:
    makefile = text_of("Makefile")
    commands = [
        line.removeprefix("$ ") for _, code in blocks("console") for line in code.splitlines() if line[:2] == "$ "
    ]
    commands += re.findall(
        r"`(make \w+|python -m airflow_provider_paperspace[^`]*)`", "".join(map(Path.read_text, PAGES))
    )
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:.*## ", makefile, re.MULTILINE), command
        elif words[1:3] == ["-m", "airflow_provider_paperspace.emulator"]:
            emulator_parser().parse_args(words[3:])
        elif words[1:3] == ["-m", "airflow_provider_paperspace"]:
            assert words[3] == "check"
            assert set(words[4::2]) <= {"--conn-id", "--project"}
        elif words[0] == "airflow":
            assert (REPOSITORY / "dags" / f"{words[-1]}.py").exists()
        else:
            assert words[0] in ("export", "pip"), command


def test_every_relative_link_leads_to_a_file() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_is_one_screen() -> None:
    assert len(text_of("README.md").splitlines()) <= 50


def test_the_changelog_begins_with_this_version() -> None:
    assert re.search(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE).group(1) == __version__  # type: ignore[union-attr]


def test_the_check_prints_what_the_page_shows(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    server.reset()
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_uri())
    assert command_line.main(["check", "--project", "prmximcci"]) == 0
    printed = capsys.readouterr().out
    shown = text_of("docs/connection.md").partition("--project prmximcci\n")[2].partition("```")[0]
    port = server.url.removesuffix("/v1").rpartition(":")[2]
    assert shown.replace("8787/v1" + " " * len(port), f"{port}/v1" + " " * 4).strip() in printed


def test_the_connection_page_tells_the_defaults() -> None:
    rows = {cells[1].strip("`"): cells[2].strip("`") for cells in table("docs/connection.md", "setting | where")}
    assert rows == {
        "Password": "none: it must be set",
        "Host": protocol.BASE_URL,
        "Extra `timeout": f"{DEFAULT_TIMEOUT_S:g}",
        "Extra `max_attempts": str(DEFAULT_MAX_ATTEMPTS),
        "Extra `console_url": protocol.CONSOLE_URL,
    }


@pytest.mark.parametrize("line", [code for _, code in blocks("bash")])
def test_the_ways_to_write_a_connection_down_are_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    for assignment in line.splitlines():
        name, _, value = shlex.split(assignment)[1].partition("=")
        monkeypatch.setenv(name, value)
        settings = PaperspaceHook().read_settings().client
        assert (settings.api_key, settings.timeout_s) == ("YOUR_KEY", 10.0)


def test_the_emulator_page_lists_every_switch_and_fault() -> None:
    switches = {
        cells[0].strip("`"): re.findall(r"`([^`]+)`", cells[1]) for cells in table("docs/emulator.md", "`--switch")
    }
    assert switches == {name: list(values) for name, values in CHOICES.items()}
    faults = [kind for cells in table("docs/emulator.md", "kind |") for kind in re.findall(r"`(.+?)`", cells[0])]
    assert sorted(faults) == sorted(KINDS)


def test_the_seed_that_the_page_shows_is_one() -> None:
    (seed,) = [code for name, code in blocks("json") if name.startswith("emulator")]
    assert Paperspace(json.loads(seed)).tag_names("prmximcci") == ["old", "gpu"]


def test_the_guide_tells_which_answers_fail_at_once_and_which_limits_hold() -> None:
    (at_once, later, _) = table("docs/guide.md", "what | the task")
    assert set(map(int, re.findall(r"\d{3}", at_once[0]))) == BEYOND_RETRY
    assert not set(map(int, re.findall(r"\d{3}", later[0]))) & BEYOND_RETRY
    guide, design = text_of("docs/guide.md"), " ".join(text_of("docs/design.md").split())
    assert "retried where repeating is safe, on 408, 429, 500, 502, 503, 504 and" in " ".join(guide.split())
    assert {s for s in range(400, 600) if retries.verdict("GET", s) == "retry"} == {408, 429, 500, 502, 503, 504}
    assert f"up to {retries.RETRY_AFTER_CAP_S:.0f} seconds" in guide
    assert f"up to `max_failures` in a row ({DEFAULT_MAX_FAILURES})" in guide
    assert (SLOWEST, GRACE_S) == (8, 2.0), "the pages say an eighth, and two seconds"
    assert f"may take up to {LAST_LOOK_S:.0f} seconds" in guide
    assert f"`max_concurrency` projects ({DEFAULT_MAX_CONCURRENCY} unless you say otherwise)" in guide
    assert f"min({retries.BACKOFF_CAP_S:.0f}, {retries.BACKOFF_INITIAL_S:g} * 2 ** n)" in design
    assert f"later than {retries.MAX_TOTAL_S:.0f} seconds" in design
    assert f"the last {walks.REMEMBERED:,} names" in design
