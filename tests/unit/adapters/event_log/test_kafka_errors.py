"""Kafka's error codes by whose fault they are: what a code is not listed for here, it is not known to mean."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from streamlake.adapters.event_log.kafka.errors import (
    ALTER,
    COMMIT,
    GENERAL,
    ails_the_client,
    failed_append,
    fault_of,
    translated,
)
from streamlake.domain.errors import (
    AccessDenied,
    GroupActive,
    LogUnavailable,
    NotAMember,
    NotStored,
    OutcomeUnknown,
    PositionLost,
    RecordRefused,
    RecordsDamaged,
    RecordTooLarge,
    SettingsInvalid,
    TopicMissing,
    WriterFailed,
)

ALL_CODES = sorted(
    {code for name in dir(KafkaError) if name.isupper() and isinstance(code := getattr(KafkaError, name), int)}
)

PASSES = [
    "_TRANSPORT",
    "_ALL_BROKERS_DOWN",
    "_TIMED_OUT",
    "_RESOLVE",
    "_SSL",
    "_WAIT_COORD",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "BROKER_NOT_AVAILABLE",
    "NOT_CONTROLLER",
    "NOT_COORDINATOR",
    "COORDINATOR_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "KAFKA_STORAGE_ERROR",
    "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED",
    "UNKNOWN",
]
"""The world's fault, whatever was being done."""


def error(name: str, fatal: bool = False) -> KafkaError:
    return KafkaError(getattr(KafkaError, name), "what the broker says", fatal=fatal)


@pytest.mark.parametrize("table", [GENERAL, COMMIT, ALTER], ids=["general", "commit", "alter"])
@pytest.mark.parametrize("name", PASSES)
def test_what_passes_by_itself_is_the_worlds_fault(name: str, table: dict[int, type]) -> None:
    assert type(fault_of(error(name), "read t[0]", table)) is LogUnavailable


@pytest.mark.parametrize("table", [GENERAL, COMMIT, ALTER], ids=["general", "commit", "alter"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("TOPIC_AUTHORIZATION_FAILED", AccessDenied),
        ("GROUP_AUTHORIZATION_FAILED", AccessDenied),
        ("CLUSTER_AUTHORIZATION_FAILED", AccessDenied),
        ("SASL_AUTHENTICATION_FAILED", AccessDenied),
        ("_AUTHENTICATION", AccessDenied),
        ("UNKNOWN_TOPIC_OR_PART", TopicMissing),
        ("UNKNOWN_TOPIC_ID", TopicMissing),
        ("_UNKNOWN_TOPIC", TopicMissing),
        ("_UNKNOWN_PARTITION", TopicMissing),
        ("OFFSET_OUT_OF_RANGE", PositionLost),
        ("_AUTO_OFFSET_RESET", PositionLost),
        ("_BAD_MSG", RecordsDamaged),
        ("_BAD_COMPRESSION", RecordsDamaged),
        ("INVALID_CONFIG", SettingsInvalid),
        ("INVALID_PARTITIONS", SettingsInvalid),
        ("INVALID_REPLICATION_FACTOR", SettingsInvalid),
        ("POLICY_VIOLATION", SettingsInvalid),
        ("TOPIC_EXCEPTION", SettingsInvalid),
    ],
)
def test_what_waiting_does_not_mend_is_the_operators_fault(name: str, fault: type, table: dict[int, type]) -> None:
    assert type(fault_of(error(name), "read t[0]", table)) is fault


@pytest.mark.parametrize(
    "name",
    [
        "REBALANCE_IN_PROGRESS",
        "ILLEGAL_GENERATION",
        "UNKNOWN_MEMBER_ID",
        "FENCED_INSTANCE_ID",
        "FENCED_MEMBER_EPOCH",
        "STALE_MEMBER_EPOCH",
        "_ASSIGNMENT_LOST",
    ],
)
def test_a_commit_refused_because_the_group_moved_on_is_not_a_members(name: str) -> None:
    assert type(fault_of(error(name), "commit g", COMMIT)) is NotAMember


@pytest.mark.parametrize("name", ["UNKNOWN_MEMBER_ID", "NON_EMPTY_GROUP", "REBALANCE_IN_PROGRESS"])
def test_offsets_of_a_group_with_members_are_not_altered(name: str) -> None:
    assert type(fault_of(error(name), "alter g", ALTER)) is GroupActive


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("MSG_SIZE_TOO_LARGE", RecordTooLarge),
        ("RECORD_LIST_TOO_LARGE", RecordTooLarge),
        ("INVALID_TIMESTAMP", RecordRefused),
        ("INVALID_RECORD", RecordRefused),
        ("TOPIC_AUTHORIZATION_FAILED", AccessDenied),
        ("UNKNOWN_TOPIC_OR_PART", TopicMissing),
        ("_UNKNOWN_TOPIC", TopicMissing),
        ("_UNKNOWN_PARTITION", TopicMissing),
        ("_FATAL", WriterFailed),
        ("_MSG_TIMED_OUT", OutcomeUnknown),
        ("_PURGE_INFLIGHT", OutcomeUnknown),
        ("_PURGE_QUEUE", OutcomeUnknown),
        ("REQUEST_TIMED_OUT", OutcomeUnknown),
        ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", OutcomeUnknown),
        ("_TRANSPORT", OutcomeUnknown),
        ("UNKNOWN", OutcomeUnknown),
    ],
)
def test_a_failed_append_says_what_is_known_of_its_record(name: str, outcome: type) -> None:
    assert type(failed_append(error(name), "t")) is outcome


@pytest.mark.parametrize("code", ALL_CODES)
def test_no_delivery_error_is_taken_for_certainly_not_stored_and_safe_to_retry(code: int) -> None:
    assert not isinstance(failed_append(KafkaError(code), "t"), NotStored)


def test_a_fatal_error_of_the_writer_outranks_its_code() -> None:
    assert type(failed_append(error("_MSG_TIMED_OUT", fatal=True), "t")) is WriterFailed


def test_a_fatal_error_of_a_member_is_the_operators_fault() -> None:
    assert type(fault_of(error("UNKNOWN", fatal=True), "poll g")) is SettingsInvalid


def test_one_broker_away_ails_nobody_and_all_of_them_away_do() -> None:
    assert not ails_the_client(error("_TRANSPORT"))
    assert ails_the_client(error("_ALL_BROKERS_DOWN"))
    assert ails_the_client(error("_AUTHENTICATION"))


def test_the_drivers_exception_is_kept_as_the_cause_and_the_message_names_the_thing() -> None:
    with pytest.raises(TopicMissing, match=r"read t\[0\]: UNKNOWN_TOPIC_OR_PART") as raised, translated("read t[0]"):
        raise KafkaException(error("UNKNOWN_TOPIC_OR_PART"))
    assert isinstance(raised.value.__cause__, KafkaException)
