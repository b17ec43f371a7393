"""What the documents name exists: commands, options, targets, settings, files, headings, dependencies."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.unit.commands import ANY_PROPERTY, complaint, is_setting, streamlake_commands
from tests.unit.settings_table import PAGE, page_with, table

from streamlake.adapters.event_log.kafka.config import CLASSIC_PROMISED, PROMISED
from streamlake.entrypoints.http_api.problems import KINDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in ROOT.rglob("*.md") if not any(part[0] == "." for part in page.relative_to(ROOT).parts))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHELLS = ("console", "sh", "bash", "shell")
PATHS = re.compile(r"(?:src|tests|docs|contracts|requirements|\.ci)/[\w./*-]+")


def fenced(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block."""
    for found in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield found[1], found[2]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```\s*$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def inline(page: Path) -> list[str]:
    """Every `inline code`."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def scripts(page: Path) -> Iterator[str]:
    """What the reader is asked to type: of a console block with prompts only the lines behind them."""
    for language, text in fenced(page):
        if language in SHELLS:
            joined = text.replace("\\\n", " ")
            typed = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
            yield "\n".join(typed) if typed else joined


def anchors(page: Path) -> set[str]:
    """The headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+?)\s*$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=named)


@each_page
def test_every_command_to_type_is_one_of_the_cli(page: Path) -> None:
    commands = [command for script in scripts(page) for command in streamlake_commands(script)]
    assert [(command, wrong) for command in commands if (wrong := complaint(command))] == []


@each_page
def test_every_command_mentioned_is_one_of_the_cli(page: Path) -> None:
    mentioned = [span.split()[1:] for span in inline(page) if span.startswith("streamlake ") and "..." not in span]
    assert [(words, wrong) for words in mentioned if (wrong := complaint(words, whole=False))] == []


@each_page
def test_every_make_target_exists(page: Path) -> None:
    text = "\n".join([*scripts(page), *inline(page)])
    assert [target for target in re.findall(r"^make ([a-z][a-z-]*)", text, re.MULTILINE) if target not in TARGETS] == []


@each_page
def test_every_setting_exists(page: Path) -> None:
    of_the_tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    names = set(re.findall(r"STREAMLAKE_[A-Z0-9_]+(?![A-Z0-9_*])", page.read_text()))
    assert [
        name
        for name in sorted(names)
        if not is_setting(name)
        and name != ANY_PROPERTY
        and not (name.startswith(("STREAMLAKE_TEST_", "STREAMLAKE_REQUIRE_")) and name in of_the_tests)
    ] == []


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    told = re.sub(r"`[^`\n]*`", "", prose(page))  # code may look like a link
    for link in re.findall(r"\]\(([^)\s]+)\)", told):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_every_file_named_exists(page: Path) -> None:
    paths = [span for span in inline(page) if PATHS.fullmatch(span)]
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


@each_page
def test_every_test_named_exists(page: Path) -> None:
    known = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", page.read_text()) if f"def {name}(" not in known] == []


@each_page
def test_every_python_example_holds(page: Path) -> None:
    for language, text in fenced(page):
        if language == "python":
            exec(compile(text, named(page), "exec"), {})  # noqa: S102 - our own pages


def test_the_statuses_of_problems_are_those_of_the_api() -> None:
    page = (ROOT / "docs/http-api.md").read_text()
    table = page.split("| kind | status |")[1].split("\n\n")[0]
    told = {
        kind: int(status)
        for kinds, status in re.findall(r"^\| (`.+`) \| (\d+) \|$", table, re.MULTILINE)
        for kind in re.findall(r"`([^`]+)`", kinds)
    }
    assert told == {kind: status for kind, (status, _) in KINDS.items()}


def test_the_properties_that_cannot_be_changed_are_those_that_are_refused() -> None:
    page = (ROOT / "docs/kafka.md").read_text().split("## Properties that cannot be changed")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE))
    assert told == {name: value for name, (value, _) in {**PROMISED, **CLASSIC_PROMISED}.items()}


def test_the_headers_of_dead_letters_are_those_of_the_page() -> None:
    page = (ROOT / "docs/kafka.md").read_text()
    source = (ROOT / "src/streamlake/domain/model/dead_letters.py").read_text()
    names = set(re.findall(r'\("([a-z_]+)", ', source)) | set(re.findall(r'OURS \+ "([a-z0-9_]+)"', source))
    assert {f"dlq_{name}" for name in names} - {"dlq_replay_id"} == set(re.findall(r"`(dlq_[a-z0-9_]+)`", page))


def requirements() -> Iterator[tuple[str, str]]:
    """The group and name of every direct dependency."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups: dict[str, Sequence[object]] = {
        "build-system": told["build-system"]["requires"],
        "run": told["project"]["dependencies"],
        **told["project"]["optional-dependencies"],
        **told["dependency-groups"],
    }
    for group, wanted in groups.items():
        for requirement in wanted:
            if isinstance(requirement, str):
                yield group, re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()


def test_every_direct_dependency_has_its_reason() -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    explained = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    assert {name for _, name in requirements()} - explained == set()


def test_no_dependency_is_explained_that_is_not_there() -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    explained = set(re.findall(r"^\| `([^`]+)`", page, re.MULTILINE))
    beside = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements/flights.txt").read_text(), re.MULTILINE))
    assert explained - {name for _, name in requirements()} - beside == set()


def test_the_table_of_settings_is_that_of_the_settings() -> None:
    assert PAGE.read_text() == page_with(table()), "run `python -m tests.unit.settings_table`"


def test_the_index_of_decisions_has_them_all() -> None:
    index = (ROOT / "docs/adr/README.md").read_text()
    files = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert files
    assert re.findall(r"\]\((\d[^)]+)\)", index) == files


def test_decisions_are_numbered_without_holes_and_have_the_same_form() -> None:
    for number, path in enumerate(sorted((ROOT / "docs/adr").glob("[0-9]*.md")), start=1):
        assert path.name.startswith(f"{number:04d}-")
        assert re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE) == ["Context", "Decision", "Consequences"]
