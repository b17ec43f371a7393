"""librdkafka's and the brokers' error codes, by whose fault they are."""

# ruff: noqa: SLF001 - librdkafka marks its local errors by an underscore; they are public all the same

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from streamlake.domain.errors import (
    AccessDenied,
    GroupActive,
    LogUnavailable,
    NotAMember,
    OutcomeUnknown,
    PositionLost,
    RecordRefused,
    RecordsDamaged,
    RecordTooLarge,
    SettingsInvalid,
    StreamLakeError,
    TopicMissing,
    WriterFailed,
)

K = KafkaError

DENIED = frozenset(
    {
        K.TOPIC_AUTHORIZATION_FAILED,
        K.GROUP_AUTHORIZATION_FAILED,
        K.CLUSTER_AUTHORIZATION_FAILED,
        K.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        K.SASL_AUTHENTICATION_FAILED,
        K.UNSUPPORTED_SASL_MECHANISM,
        K.ILLEGAL_SASL_STATE,
        K._AUTHENTICATION,
    }
)
MISSING = frozenset(
    {K.UNKNOWN_TOPIC_OR_PART, K.UNKNOWN_TOPIC_ID, K._UNKNOWN_TOPIC, K._UNKNOWN_PARTITION, K.INCONSISTENT_TOPIC_ID}
)
DAMAGED = frozenset({K._BAD_MSG, K._BAD_COMPRESSION, K._NOT_IMPLEMENTED, K.INVALID_MSG})
"""Of what was fetched. librdkafka goes on behind it, and what it has left out would pass for a gap."""
LOST = frozenset({K.OFFSET_OUT_OF_RANGE, K._AUTO_OFFSET_RESET, K._LOG_TRUNCATION})
UNSUITABLE = frozenset(
    {
        K.INVALID_CONFIG,
        K.INVALID_PARTITIONS,
        K.INVALID_REPLICATION_FACTOR,
        K.INVALID_REPLICA_ASSIGNMENT,
        K.INVALID_REQUEST,
        K.INVALID_GROUP_ID,
        K.INVALID_SESSION_TIMEOUT,
        K.INCONSISTENT_GROUP_PROTOCOL,
        K.UNSUPPORTED_ASSIGNOR,
        K.UNSUPPORTED_VERSION,
        K.POLICY_VIOLATION,
        K.TOPIC_EXCEPTION,
        K.OFFSET_METADATA_TOO_LARGE,
        K.FENCED_INSTANCE_ID,
        K.UNRELEASED_INSTANCE_ID,
        K._INVALID_ARG,
        K._UNSUPPORTED_FEATURE,
    }
)
GENERAL: Mapping[int, type[StreamLakeError]] = {
    **dict.fromkeys(DENIED, AccessDenied),
    **dict.fromkeys(MISSING, TopicMissing),
    **dict.fromkeys(LOST, PositionLost),
    **dict.fromkeys(DAMAGED, RecordsDamaged),
    **dict.fromkeys(UNSUITABLE, SettingsInvalid),
}
"""Of reads and admin calls. Whatever is not here passes: LogUnavailable."""

COMMIT: Mapping[int, type[StreamLakeError]] = {
    **GENERAL,
    **dict.fromkeys(
        (
            K.REBALANCE_IN_PROGRESS,
            K.ILLEGAL_GENERATION,
            K.UNKNOWN_MEMBER_ID,
            K.FENCED_INSTANCE_ID,
            K.FENCED_MEMBER_EPOCH,
            K.STALE_MEMBER_EPOCH,
            K.MEMBER_ID_REQUIRED,
            K._ASSIGNMENT_LOST,
            K._MAX_POLL_EXCEEDED,
            K._FENCED,
        ),
        NotAMember,
    ),
}
"""Of commits, where the group may have moved on."""

ALTER: Mapping[int, type[StreamLakeError]] = {
    **GENERAL,
    **dict.fromkeys(
        (K.NON_EMPTY_GROUP, K.UNKNOWN_MEMBER_ID, K.ILLEGAL_GENERATION, K.REBALANCE_IN_PROGRESS, K.STALE_MEMBER_EPOCH),
        GroupActive,
    ),
}
"""Of altered offsets: a group with members answers as it would to a stranger's commit."""

JUST_STARTED = frozenset(
    {K.NOT_COORDINATOR, K.COORDINATOR_NOT_AVAILABLE, K.COORDINATOR_LOAD_IN_PROGRESS, K._WAIT_COORD}
)
"""What a coordinator says in its first moments."""

REFUSED = frozenset({K.INVALID_TIMESTAMP, K.INVALID_RECORD, K.INVALID_MSG, K.UNSUPPORTED_FOR_MESSAGE_FORMAT})
END_OF_PARTITION = K._PARTITION_EOF
POLLED_TOO_LATE = K._MAX_POLL_EXCEEDED
NOT_FETCHING = frozenset({K._STATE, K._PREV_IN_PROGRESS})
"""A seek's answer where the partition is just assigned, or has failed."""
NO_SUCH_TOPIC = frozenset({K.UNKNOWN_TOPIC_OR_PART, K._UNKNOWN_TOPIC})
NO_LEADERS = K._NOENT
"""An offset look-up's answer where no partition asked for has a leader, also because there is no such topic."""
TOO_LARGE = frozenset({K.MSG_SIZE_TOO_LARGE, K.RECORD_LIST_TOO_LARGE})


def fault_of(error: KafkaError, doing: str, table: Mapping[int, type[StreamLakeError]] = GENERAL) -> StreamLakeError:
    """Our error for one of Kafka's; `doing` names the operation and what it was about."""
    unknown = SettingsInvalid if is_fatal(error) else LogUnavailable
    return table.get(error.code(), unknown)(f"{doing}: {told(error)}")


def failed_append(error: KafkaError, topic: str) -> StreamLakeError:
    """What an error of a delivery says about its record.

    Only an answer that rules the record out says so. A timeout does not, and neither does _PURGE_QUEUE: a record whose
    request timed out waits in the queue for its retry while the broker may be storing the first attempt.
    """
    code = error.code()
    doing = f"append to {topic}"
    if is_fatal(error):
        return WriterFailed(f"{doing}: {told(error)}")
    if code in TOO_LARGE:
        return RecordTooLarge(f"{doing}: {told(error)}")
    if code in REFUSED:
        return RecordRefused("refused-by-the-broker", f"{doing}: {told(error)}")
    if code in DENIED:
        return AccessDenied(f"{doing}: {told(error)}")
    if code in MISSING:
        return TopicMissing(f"{doing}: {told(error)}")
    return OutcomeUnknown(f"{doing}: {told(error)}")


def is_fatal(error: KafkaError) -> bool:
    """Is the client beyond repair?"""
    return error.fatal() or error.code() == K._FATAL


def ails_the_client(error: KafkaError) -> bool:
    """Is this more than one broker of several that is away, which is librdkafka's own affair?"""
    return error.code() == K._ALL_BROKERS_DOWN or error.code() in DENIED or is_fatal(error)


def told(error: KafkaError) -> str:
    """Kafka's error as text: its name, and what it says."""
    return f"{error.name()} ({error.str()})"


@contextmanager
def translated(doing: str, table: Mapping[int, type[StreamLakeError]] = GENERAL) -> Iterator[None]:
    """Turn the driver's exceptions into ours."""
    try:
        yield
    except KafkaException as e:
        raise fault_of(e.args[0], doing, table) from e
