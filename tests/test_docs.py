"""The commands in the README and in the docs, typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Gradexp

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The arguments of each command of `gradexp` in a page, but for those with a name to fill in,
    and those of packages that are not installed here."""
    found = []
    for block in re.findall(r"(?ms)^```\n(.*?)^```", page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("gradexp ") and not re.search("FOLDER|DATE|optuna", line):
                found.append(shlex.split(line, comments=True)[1:])
    return found


def is_quick(page: Path, command: list[str]) -> bool:
    """Whether it is one of the README's, of one run."""
    return page == PAGES[0] and "-m" not in command


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(one, marks=() if is_quick(page, one) else pytest.mark.slow, id=" ".join(one))
        for page in PAGES
        for one in commands(page)
        if one[0] in ("run", "list")
    ],
)
def test_what_the_pages_type_can_be_run(command: list[str], gradexp: Gradexp) -> None:
    """A few seconds each; single runs of the README here, the others in the long tier."""
    if command[0] == "run" and "--dry-run" not in command:
        command = [*command, "--dry-run"]
    status, out, err = gradexp(*command)
    assert (status, "gradexp:" in err) == (0, False), err
    assert out


@pytest.mark.slow  # all of their jobs: a minute
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.name
)
def test_what_the_pages_type_runs(page: Path, gradexp: Gradexp) -> None:
    for command in commands(page):
        status, _, err = gradexp(*command)
        assert status == 0, err


def test_the_pages_are_read() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 15


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 8 * 1024
