"""The documentation matches the code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

import pytest
from airflow.cli.cli_parser import get_parser as airflow_parser

from airflow_provider_paperspace import __main__ as command_line
from airflow_provider_paperspace import __version__, api, protocol
from airflow_provider_paperspace._compat import IS_AIRFLOW_2, AirflowOptionalProviderFeatureException
from airflow_provider_paperspace.api import _pages, _rate_limit, _retries, errors
from airflow_provider_paperspace.api.settings import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S
from airflow_provider_paperspace.emulator.__main__ import _parser as emulator_parser
from airflow_provider_paperspace.emulator.faults import KINDS, Fault, parse_fault
from airflow_provider_paperspace.emulator.server import LocalPaperspaceServer
from airflow_provider_paperspace.emulator.state import Paperspace
from airflow_provider_paperspace.emulator.switches import CHOICES
from airflow_provider_paperspace.notifications.project_tags import BUDGET_S, MAX_ATTEMPTS
from airflow_provider_paperspace.operators._batch import DEFAULT_MAX_CONCURRENCY, GRACE_PERIOD_S
from airflow_provider_paperspace.operators.clean_up import CleanUpProjectTagsOperator
from airflow_provider_paperspace.triggers._polling import MAX_AGE_S, MAX_SLOWDOWN
from airflow_provider_paperspace.triggers.project_tags import DEFAULT_MAX_FAILURES, LAST_POLL_TIMEOUT_S, MAX_INTERVAL_S
from tests.conftest import REPOSITORY
from tests.secret_watch import API_KEY
from tests.site_links import broken_links

PACKAGE = REPOSITORY / "airflow_provider_paperspace"
PAGES = [
    *(REPOSITORY / f"{page}.md" for page in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *sorted(page for page in (REPOSITORY / "docs").rglob("*.md") if "_build" not in page.parts),
]

API_FACTS = "docs/explanation/api-facts.md"
COMPATIBILITY = "docs/explanation/compatibility.md"
CONNECTION = "docs/reference/connection.md"
DESIGN = "docs/explanation/design.md"
LOCAL_PAPERSPACE = "docs/reference/local-paperspace.md"


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text()


def in_one_line(name: str) -> str:
    return " ".join(text_of(name).split())


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            found.append((f"{page.relative_to(REPOSITORY)}-{number}", code))
    return found


def table(page: str, header: str) -> list[list[str]]:
    """Return the cells of the table whose header line starts like this."""
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


def test_the_import_above_a_quoted_example_is_its_own() -> None:
    quoted = re.compile(r"```{literalinclude} (\S+)\n:language: python\n:prepend: (.*)\n")
    found = [(page.parent / source, code) for page in PAGES for source, code in quoted.findall(page.read_text())]
    assert len(found) > 8
    for source, code in found:
        if IS_AIRFLOW_2 and "from airflow.sdk import" in code:
            continue
        namespace: dict[str, object] = {}
        exec(json.loads(code), namespace)  # noqa: S102  # our own pages
        for name in namespace.keys() - {"__builtins__"}:
            assert re.search(rf"import [^=]*\b{name}\b", source.read_text()), f"{source.name} does not import {name}"


def test_every_command_on_a_page_exists() -> None:
    makefile = text_of("Makefile")
    commands = [
        line.removeprefix("$ ") for _, code in blocks("console") for line in code.splitlines() if line[:2] == "$ "
    ]
    commands += re.findall(
        r"`(make \w+|python -m airflow_provider_paperspace[^`]*)`", "".join(map(Path.read_text, PAGES))
    )
    assert len(commands) > 8
    for command in commands:
        words = shlex.split(command.removesuffix(" &").partition(" > ")[0])
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:.*## ", makefile, re.MULTILINE), command
        elif words[1:3] == ["-m", "airflow_provider_paperspace.emulator"]:
            emulator_parser().parse_args(words[3:])
        elif words[1:3] == ["-m", "airflow_provider_paperspace"]:
            command_line.command_parser().parse_args(words[3:])
        elif words[0].startswith(".nox/"):
            assert f'"{words[0].split("/")[1].removeprefix("tests-airflow-").replace("-", ".")}"' in text_of(
                "noxfile.py"
            )
            assert (REPOSITORY / words[-1]).exists(), command
        elif words[0] == "airflow":
            airflow_parser().parse_args(words[1:])
            assert words[1:3] != ["dags", "test"] or (REPOSITORY / "dags" / f"{words[-1]}.py").exists()
        elif words[:2] == ["python", "-m"]:
            assert words[2] in ("build", "pytest"), command
        else:
            assert words[0] in ("export", "kill", "pip", "source"), command


def test_the_page_for_contributors_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", text_of("CONTRIBUTING.md"))
    assert len(named) > 6
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_every_relative_link_leads_to_a_file() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(REPOSITORY)}: {target}"


def test_the_check_of_the_site_finds_links_to_nowhere(tmp_path: Path) -> None:
    """``make docs`` runs it over the site that was built."""
    (tmp_path / "a.html").write_text('<h1 id="top"><a href="b.html#there"><a href="#top"><a href="https://x.org/y">')
    (tmp_path / "b.html").write_text('<p id="there"><a href="/a.html"><a href="a.html#gone"><img src="gone.png">')
    (tmp_path / "llms.txt").write_text("- [A](a.html): one.\n- [C](c.html): gone.\n")
    assert sorted(broken_links(tmp_path)) == ["b.html: a.html#gone", "b.html: gone.png", "llms.txt: c.html"]


def test_the_readme_fits_on_one_screen() -> None:
    assert len(text_of("README.md").splitlines()) <= 50


def test_the_changelog_starts_with_this_version() -> None:
    assert re.search(r"^## (\S+)", text_of("CHANGELOG.md"), re.MULTILINE).group(1) == __version__  # type: ignore[union-attr]


def test_the_check_prints_what_its_page_shows(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    server.reset()
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_uri())
    assert command_line.main(["check", "--project", "prmximcci"]) == 0
    printed = capsys.readouterr().out
    shown = text_of(CONNECTION).partition("--project prmximcci\n")[2].partition("```")[0]
    port = server.url.removesuffix("/v1").rpartition(":")[2]
    assert shown.replace("8787/v1" + " " * len(port), f"{port}/v1" + " " * 4).strip() in printed


def test_the_tags_commands_print_what_their_page_shows(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_uri())
    tags = [{"name": name, "dtCreated": f"2026-03-0{day}T09:15:00.000Z"} for day, name in ((1, "gpu"), (2, "stage:b"))]
    server.reset(seed={"projects": [{"id": "prmximcci", "name": "vision-training", "tags": tags}]})
    shells = [code for name, code in blocks("console") if name.startswith("docs/how-to/terminal.md")]
    commands = [part for shell in shells for part in shell.split("$ ")]
    shown = [part.partition("\n") for part in commands if part]
    assert len(shown) == 4
    for command, _, output in shown:
        assert command_line.main(shlex.split(command)[3:]) == 0
        assert capsys.readouterr().out == output


def test_the_probe_prints_what_its_page_shows(
    server: LocalPaperspaceServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reset()
    monkeypatch.setenv("AIRFLOW_CONN_PAPERSPACE_DEFAULT", server.connection_uri())
    assert command_line.main(["probe", "--project", "prmximcci", "--yes"]) == 0
    shown = text_of(API_FACTS).partition("--project prmximcci --yes\n")[2].partition("```")[0]
    assert capsys.readouterr().out.endswith(shown), "Airflow 2 logs to the same stream"


def test_the_connection_page_lists_the_defaults() -> None:
    rows = {cells[1].strip("`"): cells[2].strip("`") for cells in table(CONNECTION, "setting | where")}
    assert rows == {
        "Password": "none: it must be set",
        "Host": protocol.BASE_URL,
        "Extra `timeout": f"{DEFAULT_TIMEOUT_S:g}",
        "Extra `max_attempts": str(DEFAULT_MAX_ATTEMPTS),
        "Extra `team": "none: Airflow 3 hides the button, Airflow 2 disables it",
        "Extra `console_url": protocol.CONSOLE_URL,
        "Extra `proxy": "the proxy set in the environment, if any",
        "Extra `protected_tags": "none",
    }


@pytest.mark.parametrize("line", [code for _, code in blocks("bash")])
def test_the_hook_reads_the_connections_of_the_page(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_paperspace.hooks.paperspace import PaperspaceHook

    for assignment in line.splitlines():
        name, _, value = shlex.split(assignment)[1].partition("=")
        monkeypatch.setenv(name, value)
        settings = PaperspaceHook().settings.client
        assert (settings.api_key, settings.timeout_s) == ("YOUR_KEY", 10.0)


def test_the_emulator_page_lists_every_switch_and_fault() -> None:
    switches = {
        cells[0].strip("`"): re.findall(r"`([^`]+)`", cells[1]) for cells in table(LOCAL_PAPERSPACE, "`--switch NAME")
    }
    assert switches == {name: list(values) for name, values in CHOICES.items()}
    faults = [kind for cells in table(LOCAL_PAPERSPACE, "kind |") for kind in re.findall(r"`(.+?)`", cells[0])]
    assert sorted(faults) == sorted(KINDS)


def test_the_emulator_page_lists_every_option_and_default() -> None:
    page = text_of(LOCAL_PAPERSPACE)
    command_line_options, fault_options = (
        {row[0].strip("`"): row[1].split(":")[0].strip("`") for row in table_after(page, heading)}
        for heading in ("$ python -m", "## Faults")
    )
    parsed = {
        action.option_strings[0]: action.default for action in emulator_parser()._actions if action.dest != "help"
    }
    assert list(command_line_options) == list(parsed)
    for option in ("--port", "--api-key", "--latency-ms", "--rate-limit"):
        assert command_line_options[option] == f"{parsed[option]:g}" if option != "--api-key" else parsed[option]
    defaults = {f.name: f.default for f in fields(Fault) if f.name not in ("kind", "seen")}
    words = {None: "none", "": "any", False: "false"}
    expected = {name: words.get(default) or f"{default:g}" for name, default in defaults.items()} | {"method": "any"}
    assert fault_options == expected


def table_after(page: str, heading: str) -> list[list[str]]:
    rows = page.partition(heading)[2].partition("| option |")[2].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_emulator_page_lists_every_public_method(server: LocalPaperspaceServer) -> None:
    rows = table(LOCAL_PAPERSPACE, "attribute or method of `paperspace_server`")
    listed = {name for row in rows for name in re.findall(r"^`([\w.]+)", row[0])}
    of_the_server = {name for name in dir(LocalPaperspaceServer) if not name.startswith("_")}
    # `serve` blocks, for the command line; `paperspace` has rows of its own.
    assert of_the_server - listed == {"serve", "paperspace"}
    for name in listed:
        assert attrgetter(name)(server) is not None


def test_a_fault_of_the_emulator_page_is_the_same_in_a_test_and_on_the_command_line() -> None:
    assert parse_fault("429:at=2,retry_after=3") == Fault("429", at=2, retry_after=3)


def test_the_seed_on_the_emulator_page_is_valid() -> None:
    (seed,) = [code for name, code in blocks("json") if name.startswith("docs/reference/local-paperspace")]
    assert Paperspace(json.loads(seed)).tag_names("prmximcci") == ["old", "gpu"]


def test_the_page_on_errors_lists_the_permanent_statuses() -> None:
    (at_once, later, _) = table("docs/reference/errors-and-retries.md", "what | the task")
    assert set(map(int, re.findall(r"\d{3}", at_once[0]))) == errors._PERMANENT_STATUSES
    assert not set(map(int, re.findall(r"\d{3}", later[0]))) & errors._PERMANENT_STATUSES
    page = in_one_line("docs/reference/errors-and-retries.md")
    assert "retried where repeating is safe, on 408, 429, 500, 502, 503, 504 and" in page
    assert {s for s in range(400, 600) if _retries.verdict("GET", s) == "retry"} == {408, 429, 500, 502, 503, 504}


def test_the_pages_state_the_limits_of_the_code() -> None:
    longest_wait = f"{errors.MAX_RETRY_AFTER_S:.0f} seconds"
    retries = in_one_line("docs/reference/errors-and-retries.md")
    retry_after = in_one_line("docs/how-to/retry-policy.md")
    many, waiting = in_one_line("docs/how-to/many-projects.md"), in_one_line("docs/how-to/wait-for-a-tag.md")
    assert f"as `Retry-After` asks, up to {longest_wait}" in retries
    assert f"The provider waits up to {longest_wait}" in retry_after
    assert f"more than {longest_wait}" in retry_after
    assert f"more than {longest_wait}" in many
    assert _retries.RETRY_AFTER_CAP_S == 24 * 3600
    assert "A wait of more than a day counts as a day" in retry_after
    assert f"Up to `max_concurrency` projects ({DEFAULT_MAX_CONCURRENCY} by default)" in many
    assert f"up to `max_failures` in a row ({DEFAULT_MAX_FAILURES})" in waiting
    assert MAX_SLOWDOWN == 8
    assert "polled less often, down to an eighth" in waiting
    assert f"may take up to {LAST_POLL_TIMEOUT_S:.0f} seconds" in waiting
    assert (MAX_AGE_S, MAX_INTERVAL_S) == (60, 24 * 3600)
    look_up = "at the first poll more than a minute after the last look-up, and before an error counts as permanent"
    assert f"when a wait starts, {look_up}" in waiting
    assert "up to `max_wait`, or up to a day without it" in waiting
    callbacks = in_one_line("docs/how-to/tag-on-failure.md")
    assert f"at most {BUDGET_S:.0f} seconds and sends each request at most twice" in callbacks
    assert MAX_ATTEMPTS == 2
    most = inspect.signature(CleanUpProjectTagsOperator).parameters["max_removals"].default
    assert f"at most `max_removals` tags, {most} unless you say" in in_one_line("docs/explanation/security.md")


def test_the_design_states_the_numbers_of_the_code() -> None:
    design = in_one_line(DESIGN)
    assert f"min({_retries.MAX_BACKOFF_S:.0f}, {_retries.INITIAL_BACKOFF_S:g} * 2 ** n)" in design
    assert f"After about {_retries.MAX_TOTAL_S:.0f} seconds a client gives up" in design
    assert f"`Retry-After` asks for, up to {errors.MAX_RETRY_AFTER_S:.0f} seconds" in design
    assert f"the last {_pages.REMEMBERED_KEYS:,} keys" in design
    assert GRACE_PERIOD_S == 2.0
    assert "gives in-flight requests two seconds" in design
    assert (_rate_limit.DECREASE, _rate_limit.GROWTH_PER_S) == (0.9, 0.005)
    assert "nine tenths" in design
    assert "half a percent per second" in design
    assert f"once its settings are {MAX_AGE_S:.0f} seconds old" in design
    # Airflow 2 cannot import the module.
    assert "HANDOVER_S: Final = 5.0" in (PACKAGE / "triggers/project_tag_events.py").read_text()
    assert "forgets it five seconds later" in design


def test_the_tree_in_the_design_lists_every_module() -> None:
    tree = text_of(DESIGN).partition("## The tree")[2].partition("```text\n")[2].partition("```")[0]
    listed, folder = [], ""
    for line in tree.splitlines()[1:]:
        name = line.split()[0]
        if line.startswith("    "):
            listed.append(folder + name)
        elif name.endswith("/"):
            folder = name
        else:
            listed.append(name)
    modules = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(listed) == sorted(modules)


def test_the_design_names_only_code_that_exists() -> None:
    """Names in the table that tells where to find what."""
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    rows = table(DESIGN, "question | answer")
    assert len(rows) > 8
    for question, answer in rows:
        for name in re.findall(r"`([^`]+)`", answer):
            if name.endswith(".py"):
                assert list(PACKAGE.rglob(name)), f"{question} {name}"
            else:
                assert re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", source), f"{question} {name}"


def documented_names() -> set[str]:
    """Return modules that the reference documents, names as ``module.Name``, or ``module.*`` for all of a module."""
    text = "".join(page.read_text() for page in (REPOSITORY / "docs/reference").glob("*.md"))
    # An entry of an autosummary, or the argument of an autoclass, autoexception or automodule.
    names = set(re.findall(rf"^(?:   ~|\.\. auto\w+:: ){PACKAGE.name}\.([\w.]+)$", text, re.MULTILINE))
    for module, members in re.findall(rf"automodule:: {PACKAGE.name}\.([\w.]+)\n   :members:(.*)", text):
        names.update(f"{module}.{name}" for name in (members.strip() or "*").split(", "))
    # The reference shows where to import a name from, which is not always where it is defined.
    return names | {f"api.{module}.{name}" for name, module in api._MODULE_BY_NAME.items() if f"api.{name}" in names}


def public_modules() -> dict[str, Path]:
    folders = ("api", "hooks", "links", "notifications", "operators", "rules", "sensors", "triggers")
    paths = [PACKAGE / "assets.py", PACKAGE / "retry_policy.py", *(PACKAGE / "emulator").glob("s[ew]*.py")]
    paths += [path for folder in folders for path in (PACKAGE / folder).glob("*.py") if path.stem[0] != "_"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


def test_the_reference_names_only_what_exists() -> None:
    def source_of(module: str) -> str:
        path = PACKAGE.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return path.read_text() if path.exists() else ""

    for name in documented_names():
        module, _, last = name.rpartition(".")
        assert source_of(name) or (module and (last == "*" or re.search(rf"\b{last}\b", source_of(module)))), name


def test_the_reference_lists_every_public_module() -> None:
    documented = {name.rpartition(".")[0] for name in documented_names()} | documented_names()
    assert set(public_modules()) - documented == set()
    assert {f"api.{module}" for module in api._NAMES_BY_MODULE} - documented == set()


def test_the_reference_lists_every_public_class() -> None:
    documented = documented_names()
    # The report and what is in it are a page of their own, which another test holds to the code.
    documented |= {f"operators.clean_up.{name}" for name in ("Report", "Removal", "Exemption")}
    classes = [
        (module, node.name)
        for module, path in public_modules().items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert len(classes) > 50
    missing = [f"{module}.{name}" for module, name in classes if not {f"{module}.{name}", f"{module}.*"} & documented]
    assert missing == []
    exported = [(f"api.{module}", name) for name, module in api._MODULE_BY_NAME.items()]
    assert [pair for pair in exported if not {".".join(pair), f"{pair[0]}.*"} & documented] == []


def test_the_reference_explains_types_as_they_are_defined() -> None:
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    types = re.findall(r"py:type:: (\w+)\n   :canonical: (.+)", text_of("docs/reference/arguments.md"))
    assert len(types) == 6
    for name, definition in types:
        assert f"\n{name} = {definition}\n" in source


def test_the_compatibility_table_names_what_is_tested() -> None:
    """The sessions are in noxfile.py, the claims to installers in setup.cfg."""
    rows = {row[0]: row[1:] for row in table(COMPATIBILITY, "Airflow | Python")}
    sessions = text_of("noxfile.py")
    (pair,) = re.findall(r'AIRFLOWS = \("([\d.]+)", "([\d.]+)"\)', sessions)
    (others,) = re.findall(r"OTHER_PYTHONS = \((.*)\)", sessions)
    first, *rest = ["3.11", *re.findall(r"[\d.]+", others)]
    assert rows["3.3"][1] == f"{pair[0]} on Python {first}, {' and '.join(rest)}"
    assert rows["2.11"][1].startswith(f"{pair[1]} on Python {first}; 2.11.0 with the oldest versions")
    classifiers = re.findall(r"Python :: (3\.\d+)", text_of("setup.cfg"))
    assert rows["3.3"][0] == f"{classifiers[0]} to {classifiers[-1]}"
    assert "apache-airflow>=2.11.0\n" in text_of("setup.cfg")


def test_the_compatibility_page_tells_the_features_of_this_airflow() -> None:
    column = 1 if IS_AIRFLOW_2 else 4
    rows = {row[0].partition("]")[0].strip("[`"): row[column] for row in table(COMPATIBILITY, "feature | 2.11")}
    modules = {
        "DAGs that start when a tag appears": f"{PACKAGE.name}.triggers.project_tag_events",
        "PaperspaceRetryPolicy": f"{PACKAGE.name}.retry_policy",
        "approval of a clean-up in the UI": "airflow.providers.standard.operators.hitl",
    }
    for feature, module in modules.items():
        try:
            importlib.import_module(module)
        except (ImportError, AirflowOptionalProviderFeatureException):
            assert rows[feature] == "no", feature
        else:
            assert rows[feature] == "yes", feature
