"""One exception tree, drawn by whose fault it is; that alone decides what happens next.

    StreamLakeError
    |-- DataFault              the data's: the record becomes a dead letter, the stream goes on
    |   |-- ContractViolation      malformed JSON, or not what the contract says
    |   |-- RecordRefused          no usable timestamp, unknown schema version, key not UTF-8, null value
    |   `-- RecordTooLarge         the log will not take a record of this size
    |-- WorldFault             the world's: wait with backoff, commit nothing, dead-letter nothing, try again
    |   |-- LogUnavailable         a read, an admin call or a commit failed; nothing changed, or it does not matter
    |   |-- NotStored              an append that is certainly not in the log
    |   |-- OutcomeUnknown         an append that may or may not be in the log
    |   |-- StoreUnavailable       a storage call whose outcome is unknown
    |   `-- NotAMember             a commit refused because the group has moved on without us
    |-- OperatorFault          ours or the operator's: exit 3 at start, halt the smallest scope while running
    |   |-- SettingsInvalid        a setting that cannot work
    |   |-- ContractInvalid        a contract file that cannot be used
    |   |-- UnknownDataset         no contract for that dataset or version
    |   |-- AccessDenied           401 / 403, a missing ACL
    |   |-- TopicMissing           the topic does not exist (clients never create topics)
    |   |-- DeadLetterTopicMissing letters have nowhere to go
    |   |-- PartitionMissing       the topic does not have this partition
    |   |-- TopicRecreated         another topic lives under this name now
    |   |-- Halted                 a partition was halted on purpose, until somebody resumes it
    |   |-- PositionLost           the start position is not in the log any more, or not yet
    |   |-- GroupActive            a group's offsets cannot be altered while it has members
    |   |-- ReplayRefused          a replay that cannot be, or not under this id, or not now
    |   |-- BucketMissing          the bucket does not exist (it is never created silently)
    |   |-- ObjectDamaged          a stored body is not what was written
    |   |-- PrefixDamaged          a prefix of the raw zone that cannot be continued safely
    |   `-- WriterFailed           the producer is beyond repair: the process has to start again
    `-- Race                   nobody's: an answer of compare-and-swap
        |-- AlreadyExists          a create lost: the name is taken
        |-- GenerationChanged      a replace lost: somebody wrote in between
        `-- ObjectMissing          the object read does not exist

Messages name the thing, the rule and the value at fault, and never a payload or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass


class StreamLakeError(Exception):
    """The root: everything StreamLake raises on purpose."""


class DataFault(StreamLakeError):
    """The record's own fault. It becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule: where (a JSON pointer, `""` for the whole document), which rule, and what it asks for.

    `expected` is text from the contract, never from the payload.
    """

    pointer: str
    rule: str
    expected: str


class ContractViolation(DataFault):
    """The payload is not what its contract says; `errors` has at least one entry."""

    def __init__(self, contract: str, errors: tuple[FieldError, ...]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{contract}: {first.pointer or 'document'}: {first.expected}{more}")
        self.contract = contract
        self.errors = errors


class RecordRefused(DataFault):
    """A record that cannot be landed whatever its payload; `rule` is a stable word for metrics and filters."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class RecordTooLarge(DataFault):
    """The log refuses a record of this size (MSG_SIZE_TOO_LARGE and its local twin)."""


class WorldFault(StreamLakeError):
    """The world's fault: it passes. Nobody is to blame but the network, a broker or a storage server."""


class LogUnavailable(WorldFault):
    """The event log did not answer, or said 'not now'."""


class NotStored(WorldFault):
    """The append certainly did not reach the log."""


class OutcomeUnknown(WorldFault):
    """The append may be in the log or not. A delivery timeout is this, never `NotStored`."""


class StoreUnavailable(WorldFault):
    """A storage call timed out, was reset, or was answered 408, 429 or 5xx. It may have been applied."""


class NotAMember(WorldFault):
    """The commit was refused: this member's generation is over. Nothing was committed."""


class OperatorFault(StreamLakeError):
    """Ours or the operator's: waiting alone does not mend it."""


class SettingsInvalid(OperatorFault):
    """A setting is missing, malformed, or would undo a promise."""


class ContractInvalid(OperatorFault):
    """A contract file that is not valid ODCS, or asks for something StreamLake does not have."""


class UnknownDataset(OperatorFault):
    """There is no contract for this dataset, or none of this version."""


class AccessDenied(OperatorFault):
    """The credentials are missing, wrong, or not allowed to do this."""


class TopicMissing(OperatorFault):
    """The topic does not exist. `streamlake topics provision` makes it."""


class DeadLetterTopicMissing(OperatorFault):
    """What is to be dead-lettered has nowhere to go, and waits. `streamlake topics provision` makes the topic."""


class PartitionMissing(OperatorFault):
    """The topic has fewer partitions than that."""


class TopicRecreated(OperatorFault):
    """The topic's id is not the one this work began with: same name, another log."""


class Halted(OperatorFault):
    """`streamlake.control` says that this partition waits for `streamlake resume`."""


class PositionLost(OperatorFault):
    """The position asked for is outside what the log holds."""


class RecordsDamaged(OperatorFault):
    """The log's bytes cannot be read as records: their checksum or their compression is broken, or unknown."""


class GroupActive(OperatorFault):
    """The group has members, so its offsets may not be altered."""


class ReplayRefused(OperatorFault):
    """No such replay, another plan under its id, or another rewind under way."""


class BucketMissing(OperatorFault):
    """The bucket does not exist, or is not visible to these credentials."""


class ObjectDamaged(OperatorFault):
    """A stored body is not what was written: somebody or something changed it behind the store's back."""


class PrefixDamaged(OperatorFault):
    """A prefix with a hole, two formats, an unreadable `_metadata.json` or a part without claims."""


class WriterFailed(OperatorFault):
    """The idempotent producer hit a fatal error; no append of this process can be trusted any more."""


class Race(StreamLakeError):
    """An answer of create-only or compare-and-swap: somebody else was first. Nobody's fault."""


class AlreadyExists(Race):
    """The object was there already; nothing was written."""


class GenerationChanged(Race):
    """The object's generation was not the expected one; nothing was written."""


class ObjectMissing(Race):
    """There is no such object."""
