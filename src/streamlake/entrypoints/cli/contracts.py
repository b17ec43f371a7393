"""`streamlake contracts`: looking at contracts, checking a change of one, and drafting a new one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import open as progress_of
from rich.table import Column, Table

from streamlake.domain.errors import ContractInvalid, ContractViolation, RecordRefused, SettingsInvalid
from streamlake.domain.model.contract_changes import Change, changes
from streamlake.domain.model.contract_drafts import SampledField, draft, sample
from streamlake.domain.model.contracts import DATASET_NAME, Contract
from streamlake.domain.ports.contract_catalog import ContractFiles
from streamlake.entrypoints.cli.progress import visible
from streamlake.entrypoints.cli.screen import screen
from streamlake.entrypoints.cli.wiring import wired
from streamlake.entrypoints.dataset_page import describe

GIT_S = 30


@click.group()
def contracts() -> None:
    """Show, check and draft data contracts."""


@contracts.command()
@click.argument("dataset")
@click.option("--schema-version", help="Contract version such as v1. Default: the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print its JSON Schema and example, as the API shows them.")
def show(dataset: str, schema_version: str | None, as_json: bool) -> None:
    """Show one contract of DATASET: key, fields, rules, an example."""
    with wired(quiet=True) as container:
        catalog = container.catalog()
        versions = catalog.versions(dataset)
        found = catalog.newest(dataset) if schema_version is None else catalog.find(dataset, schema_version)
    if found is None:
        raise click.BadParameter(
            f"must be one of {', '.join(c.version for c in versions)}", param_hint="--schema-version"
        )
    page = describe(found, versions)
    if as_json:
        click.echo(json.dumps(page, ensure_ascii=False))
        return
    click.echo(f"{found.name}: {found.description}")
    click.echo(f"versions {', '.join(c.version for c in versions)}; key {found.key}; sha256 {found.sha256}")
    table = Table(*(Column(name, overflow="fold") for name in ("field", "type", "required", "rules")))
    for row in _rows("", found.json_schema):
        table.add_row(*row)
    screen().print(table)
    click.echo(json.dumps(page["example"], ensure_ascii=False))


@contracts.command()
@click.option("--against", help="A contract file, a folder of them, or a git commit, branch or tag.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(against: str | None, as_json: bool) -> None:
    """Check every contract file as a start would; with --against also that none breaks what its major has promised.

    Breaking is: a removed field, another type or key, optional made required or required made optional, a new required
    field, a narrower or new rule, fewer partitions, a version that is gone. Exit 1 for a broken or breaking contract.
    """
    with wired(quiet=True) as container:
        folder, files = container.settings().contracts, container.contract_files()
    broken: list[str] = []
    now = _read_all(files, files.of_folder(str(folder)), broken)
    differences: dict[str, list[Change]] = {}
    if against is not None:
        before, whole = _before(files, folder, against)
        for name, old in _read_all(files, before, broken).items():
            if name in now:
                differences[name] = list(changes(old, now[name]))
            elif whole and not any(name in told for told in broken):
                differences[name] = [Change("", True, "the contract is gone: its records would become dead letters")]
    _print_findings(sorted(now), broken, differences, as_json)
    breaking = any(change.breaking for found in differences.values() for change in found)
    raise click.exceptions.Exit(1 if broken or breaking else 0)


@contracts.command()
@click.argument("dataset")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", help="The field that is the record key. Default: one that looks like an id.")
@click.option("--major", default=1, show_default=True, type=click.IntRange(1), help="The contract's major version.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write it; - prints it. Default: the contracts folder."
)
def new(dataset: str, file: Path, key: str | None, major: int, out: Path | None) -> None:
    """Draft a contract for DATASET from FILE (newline-delimited JSON): it takes every event there, for you to edit."""
    if not DATASET_NAME.fullmatch(dataset):
        raise click.BadParameter(f"must fullmatch {DATASET_NAME.pattern}", param_hint="DATASET")
    with wired(quiet=True) as container:
        folder, files = container.settings().contracts, container.contract_files()
    events = SampledField()
    with _lines(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                sample(events, line, number)
    if not events.seen:
        raise RecordRefused("no_events", f"{file}: there is no event in it")
    name = files.name(dataset, major)
    text = files.write(draft(dataset, major, events, key))
    _takes_all(files.read(name, text), file)
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    path = out or folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as written:
            written.write(text)
    except FileExistsError:
        raise click.UsageError(f"{path}: is there already; it is not overwritten") from None
    except OSError as error:
        raise SettingsInvalid(f"{path}: cannot be written: {error.strerror}") from error
    click.echo(f"{path}: a draft from {events.seen:,} events; edit it, then `streamlake contracts check`")


def _takes_all(contract: Contract, file: Path) -> None:
    """The draft is held against the sample, by the parser that the API and the consumer use."""
    with _lines(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    contract.record_key(contract.parse(line.rstrip(b"\r\n")))
                except ContractViolation as violation:
                    raise RecordRefused("sample", f"{file}: line {number}: no contract takes it: {violation}") from None


def _lines(file: Path) -> AbstractContextManager[BinaryIO]:
    return progress_of(
        file, "rb", description=escape(file.name), console=Console(stderr=True), transient=True, disable=not visible()
    )


def _rows(pointer: str, schema: Mapping[str, object]) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    properties: Mapping[str, Mapping[str, object]] = schema.get("properties", {})  # type: ignore[assignment]
    required: list[str] = schema.get("required", [])  # type: ignore[assignment]
    for name, inner in properties.items():
        here = f"{pointer}/{name}"
        rows.append((here, _type(inner), "yes" if name in required else "", _rules(inner)))
        while isinstance(inner.get("items"), dict):
            inner = inner["items"]  # type: ignore[assignment]
            here += "/*"
            rows.append((here, _type(inner), "", _rules(inner)))
        rows += _rows(here, inner)
    return rows


def _type(schema: Mapping[str, object]) -> str:
    named = schema["type"]
    return named if isinstance(named, str) else next(each for each in named if each != "null")  # type: ignore[attr-defined]


def _rules(schema: Mapping[str, object]) -> str:
    of_structure = ("type", "properties", "required", "items", "description")
    return ", ".join(f"{name} {value}" for name, value in schema.items() if name not in of_structure)


def _before(files: ContractFiles, folder: Path, against: str) -> tuple[Mapping[str, bytes], bool]:
    """The contracts to compare with, and whether they are all there were."""
    path = Path(against)
    if path.is_dir():
        found = files.of_folder(str(path))
        return {name: content for name, content in found.items() if files.is_contract(name)}, True
    if path.is_file():
        if not files.is_contract(path.name):
            raise click.BadParameter(f"{path.name}: is no name of a contract file", param_hint="--against")
        return {path.name: path.read_bytes()}, False
    names = _git(folder, "ls-tree", "--name-only", against, "./").decode().splitlines()
    there = {Path(name).name for name in names if files.is_contract(Path(name).name)}
    return {name: _git(folder, "show", f"{against}:./{name}") for name in sorted(there)}, True


def _git(folder: Path, *command: str) -> bytes:
    if any(word.startswith("-") and word != "--name-only" for word in command):
        raise click.BadParameter("must be a file, a folder, or a git commit, branch or tag", param_hint="--against")
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, timeout=GIT_S, check=False)
    except OSError as missing:
        raise click.BadParameter(f"git cannot be run: {missing.strerror}", param_hint="--against") from None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise click.BadParameter(f"no such file, and git says: {''.join(why)}", param_hint="--against")
    return done.stdout


def _read_all(files: ContractFiles, contents: Mapping[str, bytes], broken: list[str]) -> Mapping[str, Contract]:
    found: dict[str, Contract] = {}
    for name, content in contents.items():
        try:
            found[name] = files.read(name, content)
        except ContractInvalid as invalid:
            broken.append(str(invalid))
    return found


def _print_findings(
    names: list[str], broken: list[str], differences: Mapping[str, list[Change]], as_json: bool
) -> None:
    if as_json:
        rows = [
            {"file": name, "pointer": change.pointer, "breaking": change.breaking, "change": change.text}
            for name, found in differences.items()
            for change in found
        ]
        click.echo(json.dumps({"valid": names, "invalid": broken, "changes": rows}))
        return
    for told in broken:
        click.echo(f"invalid   {told}")
    for name, found in differences.items():
        for change in found:
            word = "BREAKING" if change.breaking else "ok"
            click.echo(f"{word:9} {name}: {change.pointer or 'the contract'}: {change.text}")
    breaking = sum(change.breaking for found in differences.values() for change in found)
    click.echo(f"{len(names)} valid, {len(broken)} invalid, {breaking} breaking")
