"""Settings from the environment: `STREAMLAKE_*`, nested with `__`. `docs/settings.md` is this file as a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamlake.domain.errors import SettingsInvalid

PREFIX = "STREAMLAKE_"
_FOR_TESTS = ("STREAMLAKE_TEST_", "STREAMLAKE_REQUIRE_")

Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class LandingSettings(_Group):
    """When parts are rolled, and how much memory may wait to be landed."""

    max_age_s: Seconds = Field(60, description="roll a part at this age, also with no new data")
    max_bytes: Bytes = Field(8 * 1024 * 1024, description="roll a part at this size, as stored")
    max_records: Annotated[int, Field(ge=1)] = Field(500_000, description="roll at this many records")
    memory_budget_mb: Annotated[int, Field(ge=1)] = Field(256, description="buffered records of the whole process, MiB")
    breaker_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="halt a partition where more of its recent records would be dead letters"
    )
    breaker_dispositions: Annotated[int, Field(ge=1)] = Field(1000, description="how many recent records that counts")
    default_format: Literal["json", "json.gz", "parquet"] = Field(
        "json", description="part format of contracts that name none"
    )


class ApiSettings(_Group):
    """Limits of the HTTP API."""

    producer_service: str = Field(
        "ingestion-api", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="producer_service of clients that send none"
    )
    max_event_bytes: Bytes = Field(1024 * 1024, description="largest event")
    max_batch_bytes: Bytes = Field(16 * 1024 * 1024, description="largest batch body")
    max_batch_events: Annotated[int, Field(ge=1)] = Field(10_000, description="events of one batch")
    max_inflight_bytes: Bytes = Field(64 * 1024 * 1024, description="bodies waiting for Kafka; past it 503")
    max_inflight_requests: Annotated[int, Field(ge=1)] = Field(10_000, description="requests at once; past it 503")
    grace_s: Seconds = Field(25, description="how long a stopping API waits for what it accepted")


class EmbeddedSettings(_Group):
    """The sqlite log."""

    session_timeout_s: Seconds = Field(10, description="a consumer silent for so long loses its partitions")


class GcsSettings(_Group):
    """Google Cloud Storage."""

    timeout_s: Seconds = Field(60, description="longest wait for one answer of the store")


class QualitySettings(_Group):
    """Quality checks, `streamlake quality`."""

    memory_mb: Annotated[int, Field(ge=64)] = Field(
        512, description="memory of the query engine, MiB; the rest is on disk"
    )
    timeout_s: Seconds = Field(600, description="longest time for one SQL rule of a contract")


class Settings(BaseSettings):
    """All there is to set. Everything has a default: the embedded log and store, on this machine."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    event_log: str = Field(
        "sqlite:.streamlake/log.sqlite", description="kafka://host:port,... | sqlite:///path | memory:"
    )
    object_store: str = Field("file:.streamlake/lake", description="gs://bucket[/prefix] | file:///path | memory:")
    contracts: Path = Field(Path("contracts"), description="folder of the data contracts")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged at least")
    log_format: Literal["json", "console"] = Field("json", description="one JSON object a line, or for people")
    landing: LandingSettings = LandingSettings()
    api: ApiSettings = ApiSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    gcs: GcsSettings = GcsSettings()
    quality: QualitySettings = QualitySettings()
    kafka: dict[str, str] = Field(
        {}, description="any librdkafka property: STREAMLAKE_KAFKA__SECURITY_PROTOCOL sets security.protocol"
    )

    @property
    def kafka_properties(self) -> dict[str, str]:
        """The Kafka properties in librdkafka's spelling."""
        return {name.lower().replace("_", "."): value for name, value in self.kafka.items()}


def load_settings() -> Settings:
    """The settings of this process. Raises `SettingsInvalid`, naming the variable and the rule, never the value of one
    that may be secret."""
    for name in os.environ:
        upper = name.upper()
        if upper.startswith(PREFIX) and not upper.startswith(_FOR_TESTS):
            _insist_on(name, *upper.removeprefix(PREFIX).partition("__"))
    try:
        return Settings()
    except ValidationError as invalid:
        problems = [
            f"{PREFIX}{'__'.join(str(at) for at in error['loc']).upper()}: {error['msg']}"
            for error in invalid.errors(include_input=False, include_url=False)
        ]
        raise SettingsInvalid("; ".join(problems)) from None


def _insist_on(name: str, first: str, nested: str, rest: str) -> None:
    """Raises `SettingsInvalid`, naming those there are, for a variable that is not one: pydantic lets some pass."""
    known = {PREFIX + field.upper(): field for field in Settings.model_fields}
    group = known.get(PREFIX + first)
    if group == "kafka" or (group is not None and not nested):
        return
    inner = None if group is None else Settings.model_fields[group].annotation
    if isinstance(inner, type) and issubclass(inner, _Group):
        known = {f"{PREFIX}{first}__{field.upper()}": field for field in inner.model_fields}
    if f"{PREFIX}{first}{nested}{rest}" not in known:
        raise SettingsInvalid(f"{name}: there is no such setting; there are {', '.join(sorted(known))}")


def kafka_address(url: str) -> str:
    """`kafka://a:9092,b:9092` as a bootstrap list. Raises `SettingsInvalid`."""
    hosts = url.removeprefix("kafka://").strip("/")
    if not hosts or any(not host.rpartition(":")[0] for host in hosts.split(",")):
        raise SettingsInvalid(f"STREAMLAKE_EVENT_LOG: must be kafka://host:port[,host:port...], is {url}")
    return hosts


def local_path(setting: str, url: str) -> Path:
    """The path of `file:` and `sqlite:` URLs: `scheme:///absolute/path` or `scheme:relative/path`."""
    scheme, _, rest = url.partition(":")
    path = "/" + rest.lstrip("/") if rest.startswith("/") else rest
    if not path.strip("/"):
        raise SettingsInvalid(f"{setting}: must be {scheme}:///path or {scheme}:relative/path, is {url}")
    return Path(path)


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """`gs://bucket/some/prefix` taken apart. Raises `SettingsInvalid`."""
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsInvalid(f"STREAMLAKE_OBJECT_STORE: must be gs://bucket[/prefix], is {url}")
    return parts.netloc, parts.path.strip("/")
