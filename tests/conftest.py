"""Contract suites assert like tests do, so pytest must rewrite their asserts too."""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.clock",
    "tests.contracts.contract_catalog",
    "tests.contracts.event_log",
    "tests.contracts.object_store",
    "tests.contracts.part_format",
    "tests.contracts.quality_engine",
)
