"""Which part formats the container has, and what is said where the package of one is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.unit.domain.worlds import DATE, L0, PREFIX

from streamlake.domain.errors import SettingsInvalid
from streamlake.entrypoints.container import Container
from streamlake.entrypoints.settings import LandingSettings, Settings

ORDERS = (Path(__file__).parents[3] / "contracts/orders.v1.odcs.yaml").read_text()


def container(contracts: Path, *, wanted: str | None = None, default: str = "json") -> Container:
    """A process in memory, with a contract for orders that names a format, or leaves it to the setting."""
    contracts.mkdir()
    named = f"  - property: partFormat\n    value: {wanted}\n" if wanted else ""
    (contracts / "orders.v1.odcs.yaml").write_text(ORDERS + named)
    landing = LandingSettings.model_validate({"default_format": default})
    return Container(
        settings=Settings(event_log="memory:", object_store="memory:", contracts=contracts, landing=landing)
    )


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pip install streamlake`, without the extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "streamlake.adapters.part_format.parquet", raising=False)


def test_a_format_is_found_by_its_name(tmp_path: Path) -> None:
    formats = container(tmp_path / "contracts").part_formats()
    assert list(formats) == ["json", "json.gz", "parquet"]
    assert [formats[name].name for name in formats] == list(formats)
    assert formats["parquet"] is formats["parquet"]


def test_an_unknown_format_is_a_missing_key(tmp_path: Path) -> None:
    formats = container(tmp_path / "contracts").part_formats()
    assert "avro" not in formats
    with pytest.raises(KeyError):
        formats["avro"]


@pytest.mark.parametrize(("wanted", "default"), [("parquet", "json"), (None, "parquet")])
def test_a_contract_or_the_setting_may_want_parquet(tmp_path: Path, wanted: str | None, default: str) -> None:
    assert container(tmp_path / "contracts", wanted=wanted, default=default).part_logs("orders")


@pytest.mark.usefixtures("without_pyarrow")
@pytest.mark.parametrize(("wanted", "default"), [("parquet", "json"), (None, "parquet")])
def test_wanting_parquet_without_its_extra_is_told_at_the_start(
    tmp_path: Path, wanted: str | None, default: str
) -> None:
    with pytest.raises(SettingsInvalid, match=r"^orders: part format parquet: needs streamlake\[parquet\] \("):
        container(tmp_path / "contracts", wanted=wanted, default=default).part_logs("orders")


@pytest.mark.usefixtures("without_pyarrow")
def test_who_lands_json_does_not_need_the_extra(tmp_path: Path) -> None:
    wired = container(tmp_path / "contracts", default="parquet", wanted="json.gz")
    assert wired.part_logs("orders")
    assert wired.part_formats()["json"].name == "json"


@pytest.mark.usefixtures("without_pyarrow")
def test_a_prefix_of_parquet_parts_is_not_taken_for_damaged(tmp_path: Path) -> None:
    """The contract wants json now; this date has begun with parquet, and goes on with it."""
    wired = container(tmp_path / "contracts", wanted="json")
    wired.object_store().create(PREFIX + "part-0001.parquet", b"PAR1", content_type="", metadata={})
    with pytest.raises(SettingsInvalid, match=r"part format parquet: needs streamlake\[parquet\]"):
        wired.part_logs("orders").of(DATE).covers(L0, 0)
