"""The params of each DAG, checked by us: Airflow accepts unknown keys, and does not check dates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from streamlake.domain.model.contracts import DATASET_NAME
from streamlake.domain.model.dead_letters import ERROR_CLASSES
from streamlake.entrypoints.airflow_callables.runs import RunFailed

MOST_DAYS = 366
"""Of one backfill. Airflow maps a task over at most 1,024 items."""


def _dataset(name: str) -> str:
    if not DATASET_NAME.fullmatch(name):
        raise ValueError(f"must fullmatch {DATASET_NAME.pattern}")
    return name


def _date(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("must be YYYY-MM-DD")
    return text


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("must be RFC 3339 with a zone, such as 2026-11-21T10:33:00Z")
    return text


def _error_class(name: str) -> str:
    if name not in ERROR_CLASSES:
        raise ValueError(f"must be one of {', '.join(ERROR_CLASSES)}")
    return name


Dataset = Annotated[str, AfterValidator(_dataset)]
IsoDate = Annotated[str, AfterValidator(_date)]
Moment = Annotated[str, AfterValidator(_moment)]
ErrorClass = Annotated[str, AfterValidator(_error_class)]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ReplayParams(_Params):
    """Of `streamlake_replay`."""

    dataset: Dataset
    replay_id: str | None = None
    mode: Literal["bounded", "rewind"] = "bounded"
    offsets: list[str] | None = None
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")
    accept_gap: bool = False
    accept_dead_letters: bool = False
    rate: int | None = Field(None, ge=1)
    dry_run: bool = True

    @field_validator("rate")
    @classmethod
    def _paces_a_bounded_one(cls, rate: int | None, known: ValidationInfo) -> int | None:
        if rate is not None and known.data.get("mode") == "rewind":
            raise ValueError("not for a rewind; its consumers land as fast as they can")
        return rate


class BackfillParams(_Params):
    """Of `streamlake_backfill`."""

    dataset: Dataset
    first: IsoDate
    last: IsoDate
    label: str | None = None
    accept_gap: bool = False
    accept_dead_letters: bool = False
    rate: int | None = Field(None, ge=1)
    dry_run: bool = True

    @property
    def days(self) -> list[str]:
        """Every day, both ends included. Raises `RunFailed`."""
        first, last = date.fromisoformat(self.first), date.fromisoformat(self.last)
        number = (last - first).days + 1
        if not 1 <= number <= MOST_DAYS:
            raise RunFailed(f"params: first..last: must be 1 to {MOST_DAYS} days, is {number}")
        return [(first + timedelta(days=n)).isoformat() for n in range(number)]


class LettersParams(_Params):
    """Of `streamlake_dlq`."""

    datasets: list[Dataset] | None = None
    error_classes: list[ErrorClass] | None = None
    stages: list[Literal["api", "consumer"]] | None = None
    schema_versions: list[str] | None = None
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")
    offsets: list[str] | None = None
    max_attempts: int = Field(5, ge=1)
    rate: int | None = Field(None, ge=1)
    dry_run: bool = True


class _DailyParams(_Params):
    datasets: list[Dataset] | None = None
    date: IsoDate | None = None

    def day(self, run_after: str) -> str:
        """The day asked for, else the one before the run was due."""
        return self.date or _day_before(run_after)


class AuditParams(_DailyParams):
    """Of `streamlake_audit`."""

    deep: bool = False


class QualityParams(_DailyParams):
    """Of `streamlake_quality`."""

    allow_unchecked: bool = False


_Model = TypeVar("_Model", bound=_Params)


def checked(model: type[_Model], params: Mapping[str, Any]) -> _Model:
    """The params as a model. Raises `RunFailed`, naming each that is unknown, missing or wrong."""
    try:
        return model.model_validate(dict(params))
    except ValidationError as invalid:
        problems = [_told(model, error) for error in invalid.errors(include_input=False, include_url=False)]
        raise RunFailed(f"params: {'; '.join(problems)}") from None


def _told(model: type[_Params], error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"{where}: there is no such param; there are {known}"
    return f"{where}: {error['msg']}"


def _day_before(moment: str) -> str:
    at = datetime.fromisoformat(moment).astimezone(UTC)
    return (at.date() - timedelta(days=1)).isoformat()
