"""The sdist and the wheel hold what they should, and two builds of them are equal. ``make dist`` runs this.

It needs no Airflow: the folders of the two builds are in the environment.
"""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = "airflow_provider_paperspace"
FIRST, SECOND = (Path(os.environ[f"{name}_BUILD"]) for name in ("FIRST", "SECOND"))


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


WHEEL, SDIST = one(FIRST, "*.whl"), one(FIRST, "*.tar.gz")


def members_of_wheel(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as wheel:
        return {
            f.filename: (f.date_time, oct(f.external_attr >> 16), sha256(wheel.read(f)).hexdigest())
            for f in wheel.infolist()
        }


def members_of_sdist(path: Path) -> dict[str, object]:
    with tarfile.open(path) as sdist:
        found = {}
        for member in sdist:
            content = sdist.extractfile(member)
            digest = sha256(content.read()).hexdigest() if content else ""
            found[member.name] = (member.mtime, oct(member.mode), member.uid, member.gid, member.uname, digest)
        return found


def metadata() -> email.message.Message:
    with zipfile.ZipFile(WHEEL) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(wheel.read(name).decode())


VERSION = metadata()["Version"]


def in_the_repository() -> set[str]:
    """Return the files that git knows, or would add."""
    command = ["git", "--git-dir=.git", "ls-files", "--cached", "--others", "--exclude-standard"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603
    if run.returncode:
        pytest.skip(f"not a git checkout, or not readable: {run.stderr}")
    return {name for name in run.stdout.splitlines() if (REPOSITORY / name).is_file()}


def test_a_wheel_from_the_sdist_equals_one_from_the_sources() -> None:
    again = one(SECOND, "*.whl")
    assert members_of_wheel(WHEEL) == members_of_wheel(again)
    assert WHEEL.read_bytes() == again.read_bytes(), "the same files, in another order or compression"


def test_two_sdists_from_two_folders_are_equal() -> None:
    again = one(SECOND, "*.tar.gz")
    assert members_of_sdist(SDIST) == members_of_sdist(again)
    assert SDIST.read_bytes() == again.read_bytes(), "the same files, in another order or compression"


def test_a_build_makes_one_sdist_and_one_wheel() -> None:
    assert sorted(path.name for path in FIRST.iterdir()) == [
        f"{PACKAGE}-{VERSION}-py3-none-any.whl",
        f"{PACKAGE}-{VERSION}.tar.gz",
    ]


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    sources = [path for path in (REPOSITORY / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {path.relative_to(REPOSITORY).as_posix() for path in sources}
    info = f"{PACKAGE}-{VERSION}.dist-info"
    names = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    expected |= {f"{info}/{name}" for name in names}
    assert set(members_of_wheel(WHEEL)) == expected
    assert {name.partition("/")[0] for name in expected} == {PACKAGE, info}
    assert f"{PACKAGE}/py.typed" in expected


def test_the_wheel_names_two_entry_points_and_its_licence() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        info = f"{PACKAGE}-{VERSION}.dist-info"
        entry_points = wheel.read(f"{info}/entry_points.txt").decode()
        assert wheel.read(f"{info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert re.findall(r"^\[(.+)\]$", entry_points, re.MULTILINE) == ["apache_airflow_provider", "pytest11"]
    assert f"provider_info = {PACKAGE}.provider_info:get_provider_info" in entry_points
    assert metadata()["License-Expression"] == "Apache-2.0"


def test_the_sdist_holds_the_repository_and_nothing_else() -> None:
    root = f"{PACKAGE}-{VERSION}/"
    with tarfile.open(SDIST) as sdist:
        names = {member.name.removeprefix(root) for member in sdist if not member.isdir()}
    made = {name for name in names if name == "PKG-INFO" or name.startswith(f"{PACKAGE}.egg-info/")}
    assert names - made == in_the_repository()
    assert len(made) == 7


def test_pypi_shows_a_readme_whose_links_lead_somewhere() -> None:
    page = metadata().get_payload()
    source = next(url.partition(", ")[2] for url in metadata().get_all("Project-URL") if url.startswith("Source, "))
    targets = re.findall(r"\]\(([^)]+)\)", page)
    of_files = [target for target in targets if target.startswith(source)]
    assert [target for target in targets if not target.startswith("https://")] == []
    assert len(of_files) > 6
    for target in of_files:
        # PyPI shows a picture only from the address of its bytes.
        kind = "raw" if target.endswith(".png") else "blob"
        assert (REPOSITORY / target.removeprefix(f"{source}/{kind}/v{VERSION}/")).exists(), target
