"""What runs beside what (`pytest -n 2`), and which modules assert like tests do without being tests."""

from __future__ import annotations

import signal
import threading

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Contract suites assert like tests do, so pytest must rewrite their asserts too.
pytest.register_assert_rewrite(
    "tests.contracts.clock",
    "tests.contracts.contract_catalog",
    "tests.contracts.event_log",
    "tests.contracts.object_store",
    "tests.contracts.part_format",
    "tests.contracts.quality_engine",
)

# An example that takes long on a busy machine is none that fails. In CI Hypothesis' own profile stays below this one.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")

if threading.current_thread() is threading.main_thread():
    # Whatever is started in the background by a shell ignores SIGINT, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVICES = "tests/integration/"
TIMED = (
    "test_event_log_kafka_faults.py",
    "test_group_faults.py",
    "test_http_honesty.py",
    "test_leaving_and_starting.py",
    "test_network_faults.py",
    "test_storage_faults.py",
    "test_torture_slice.py",
)
"""They hold processes to their times; about half of what needs services takes."""


class TwoQueues(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One queue of what is timed, so that never two of these are under way, one of all else that needs services, so
    that it shares them; both mostly wait. The other files go wherever there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if not file.startswith(SERVICES):
            return file
        return "timed" if file.endswith(TIMED) else "services"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoQueues:
    """Not `--dist loadgroup`: pytest 9.2 does not take the marks that xdist 3.8 writes into the ids of tests."""
    return TwoQueues(config, log)
