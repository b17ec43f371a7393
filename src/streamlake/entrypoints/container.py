"""The wiring: which adapter stands behind which port. The only importer of adapters.

Adapters whose packages are extras are imported when they are chosen, so that the embedded default needs none of them.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing

from dependency_injector import containers, providers

from streamlake.adapters.clock.system import SystemClock
from streamlake.adapters.contract_catalog.odcs import OdcsContractCatalog
from streamlake.adapters.contract_catalog.odcs_draft import OdcsContractFiles
from streamlake.adapters.event_log.memory import MemoryEventLog
from streamlake.adapters.event_log.sqlite import SqliteEventLog
from streamlake.adapters.object_store.filesystem import FilesystemObjectStore
from streamlake.adapters.object_store.memory import MemoryObjectStore
from streamlake.adapters.part_format.ndjson import GzipJsonPartFormat, JsonPartFormat
from streamlake.domain.errors import SettingsInvalid
from streamlake.domain.model.replay_plans import ReplayPlan
from streamlake.domain.ports.clock import Clock
from streamlake.domain.ports.contract_catalog import ContractCatalog
from streamlake.domain.ports.event_log import EventLog, LogAdmin, LogReader, LogWriter
from streamlake.domain.ports.object_store import BucketStore, ObjectStore
from streamlake.domain.ports.part_format import PartFormat
from streamlake.domain.ports.quality_engine import QualityEngine
from streamlake.domain.use_cases.audit import Audit
from streamlake.domain.use_cases.audit_reports import AuditReports
from streamlake.domain.use_cases.circuit_breaker import BreakerLimits
from streamlake.domain.use_cases.control import Control
from streamlake.domain.use_cases.dead_letters import DeadLetters
from streamlake.domain.use_cases.ingest_events import IngestEvents
from streamlake.domain.use_cases.land_records import LandingLimits, LandRecords, LandSnapshots
from streamlake.domain.use_cases.part_log import PartLog, PartLogs
from streamlake.domain.use_cases.provision_topics import ProvisionTopics
from streamlake.domain.use_cases.quality import Quality
from streamlake.domain.use_cases.raw_zone import RawZone
from streamlake.domain.use_cases.redrive import Redrive
from streamlake.domain.use_cases.redrive_turns import RedriveTurns
from streamlake.domain.use_cases.replay import ReplayCoverage
from streamlake.domain.use_cases.replay_planning import PlanReplays
from streamlake.domain.use_cases.replay_records import ReplayRecords
from streamlake.domain.use_cases.reports import QUALITY, DatedReports
from streamlake.domain.use_cases.rewind import Rewind, RewindStates
from streamlake.domain.use_cases.start_positions import StartPositions
from streamlake.domain.use_cases.status import Status
from streamlake.domain.use_cases.summary import Summaries, Summarize
from streamlake.entrypoints.bounded_replay import BoundedParts, BoundedRun
from streamlake.entrypoints.consumer_daemon import ConsumerParts, DatasetConsumer, MemoryBudget
from streamlake.entrypoints.landing_telemetry import LandingMetrics, LandingTelemetry
from streamlake.entrypoints.patient_store import PatientStore
from streamlake.entrypoints.redriving import RedriveParts
from streamlake.entrypoints.replay_flow import FlowParts, Pace
from streamlake.entrypoints.replays import Replays
from streamlake.entrypoints.rewind_run import RewindParts, RewindRun, Say
from streamlake.entrypoints.settings import Settings, bucket_and_prefix, kafka_address, local_path
from streamlake.entrypoints.yielding_store import YieldingStore

EVENT_LOGS = ("kafka", "sqlite", "memory")
OBJECT_STORES = ("gs", "file", "memory")
WRITER_CLOSE_S = 10.0
"""How long closing waits for records on their way."""


def scheme(setting: str, url: str, known: tuple[str, ...]) -> str:
    """The adapter that a URL asks for. Raises `SettingsInvalid`."""
    found = url.partition(":")[0]
    if found not in known:
        raise SettingsInvalid(f"{setting}: must begin with one of {', '.join(name + ':' for name in known)}, is {url}")
    return found


def _kafka_log(settings: Settings) -> EventLog:
    try:
        from streamlake.adapters.event_log.kafka import KafkaEventLog
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"STREAMLAKE_EVENT_LOG: kafka: needs streamlake[kafka] ({missing})") from None
    return KafkaEventLog(kafka_address(settings.event_log), settings.kafka_properties)


def _sqlite_log(settings: Settings, clock: Clock) -> EventLog:
    path = local_path("STREAMLAKE_EVENT_LOG", settings.event_log)
    return SqliteEventLog(path, clock, session_timeout_s=settings.embedded.session_timeout_s)


def _memory_log(clock: Clock) -> EventLog:
    """Every process' log is another log: its topic ids must not pass for an earlier one's in a store that stays."""
    return MemoryEventLog(clock, log_id=secrets.token_hex(8), wait=time.sleep)


def _admin(log: EventLog, connections: ExitStack) -> LogAdmin:
    return connections.enter_context(closing(log.admin()))


def _writer(log: EventLog, connections: ExitStack) -> LogWriter:
    writer = log.writer()
    connections.callback(writer.close, WRITER_CLOSE_S)
    return writer


def _gcs_store(settings: Settings, connections: ExitStack) -> BucketStore:
    try:
        from streamlake.adapters.object_store.gcs import GcsObjectStore
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"STREAMLAKE_OBJECT_STORE: gs: needs streamlake[gcs] ({missing})") from None
    bucket, prefix = bucket_and_prefix(settings.object_store)
    return connections.enter_context(closing(GcsObjectStore(bucket, prefix, read_timeout_s=settings.gcs.timeout_s)))


def _file_store(settings: Settings, connections: ExitStack) -> BucketStore:
    path = local_path("STREAMLAKE_OBJECT_STORE", settings.object_store)
    return connections.enter_context(closing(FilesystemObjectStore(path)))


def _parquet_format() -> PartFormat:
    try:
        from streamlake.adapters.part_format.parquet import ParquetPartFormat
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"part format parquet: needs streamlake[parquet] ({missing})") from None
    return ParquetPartFormat()


def _quality_engine(settings: Settings) -> QualityEngine:
    try:
        from streamlake.adapters.quality_engine.duckdb import DuckDbQualityEngine
    except ModuleNotFoundError as missing:
        raise SettingsInvalid(f"quality rules need streamlake[quality] ({missing})") from None
    return DuckDbQualityEngine(memory_mb=settings.quality.memory_mb, timeout_s=settings.quality.timeout_s)


class PartFormats(Mapping[str, PartFormat]):
    """Every part format there is, each made when it is first asked for.

    So whoever lands `json` needs no pyarrow, nor waits for it to be imported. A format whose extra is not installed is
    known all the same: asking for it raises `SettingsInvalid`, and not `KeyError`, by which a part log would take its
    prefix for damaged.
    """

    def __init__(self, makers: Mapping[str, Callable[[], PartFormat]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> PartFormat:
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _writer_name() -> str:
    """Who wrote a part: for people, and to tell two processes of one host apart. Nothing rests on it."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _part_logs(
    dataset: str,
    store: ObjectStore,
    formats: Mapping[str, PartFormat],
    catalog: ContractCatalog,
    settings: Settings,
    writer: str,
) -> PartLogs:
    wanted = catalog.newest(dataset).part_format or settings.landing.default_format
    if wanted not in formats:
        raise SettingsInvalid(f"{dataset}: part format must be one of {', '.join(formats)}, is {wanted}")
    try:
        wanted_format = formats[wanted].name  # asks for it now, and not at the first part
    except SettingsInvalid as missing:
        raise SettingsInvalid(f"{dataset}: {missing}") from None

    def make(date: str) -> PartLog:
        return PartLog(
            store,
            formats,
            dataset,
            date,
            wanted_format=wanted_format,
            writer=writer,
            max_part_bytes=settings.landing.max_bytes,
        )

    return PartLogs(make)


def _consumer(
    dataset: str,
    log: EventLog,
    admin: LogAdmin,
    letters: LogWriter,
    store: ObjectStore,
    formats: Mapping[str, PartFormat],
    catalog: ContractCatalog,
    clock: Clock,
    settings: Settings,
    part_logs: Callable[..., PartLogs],
    metrics: LandingMetrics,
    budget: MemoryBudget,
    replay_records: ReplayRecords,
) -> DatasetConsumer:
    landing = settings.landing
    limits = LandingLimits(landing.max_bytes, landing.max_records, landing.max_age_s)
    parts = ConsumerParts(
        subscriber=log.subscriber(),
        admin=admin,
        core=LandRecords(dataset, catalog, limits),
        landing=LandSnapshots(
            dataset,
            admin,
            letters,
            part_logs(dataset, store=YieldingStore(store, clock, time.sleep)),
            BreakerLimits(landing.breaker_ratio, landing.breaker_dispositions),
        ),
        starts=StartPositions(dataset, store, formats, admin, log.reader()),
        control=Control(admin, log.reader(), letters),
        clock=clock,
        telemetry=LandingTelemetry(dataset, metrics),
        reader=log.reader(),
        replay_plan=replay_records.plan,
        replay_core=lambda replay_id: LandRecords(dataset, catalog, limits, replay_id),
    )
    return DatasetConsumer(dataset, parts, budget)


def _redrive_parts(
    dataset: str,
    admin: LogAdmin,
    reader: LogReader,
    writer: LogWriter,
    store: ObjectStore,
    formats: Mapping[str, PartFormat],
    catalog: ContractCatalog,
    clock: Clock,
) -> RedriveParts:
    return RedriveParts(
        letters=DeadLetters(dataset, admin, reader),
        zone=RawZone(dataset, store, formats),
        redrive=Redrive(dataset, catalog, admin, reader, writer),
        turns=RedriveTurns(dataset, store, admin),
        clock=clock,
        wait=time.sleep,
    )


def _bounded_run(
    plan: ReplayPlan,
    pace: Pace,
    stop: threading.Event,
    log: EventLog,
    admin: LogAdmin,
    letters: LogWriter,
    store: ObjectStore,
    catalog: ContractCatalog,
    clock: Clock,
    settings: Settings,
    part_logs: Callable[..., PartLogs],
    coverage: ReplayCoverage,
    records: ReplayRecords,
) -> BoundedRun:
    landing = settings.landing
    limits = LandingLimits(landing.max_bytes, landing.max_records, landing.max_age_s)
    breaker = BreakerLimits(landing.breaker_ratio, landing.breaker_dispositions)
    logs = part_logs(plan.dataset, store=YieldingStore(store, clock, stop.wait))
    flow = FlowParts(
        reader=log.reader(),
        admin=admin,
        landing=LandSnapshots(plan.dataset, admin, letters, logs, breaker),
        clock=clock,
        memory_bytes=landing.memory_budget_mb * 1024**2,
        stop=stop,
    )
    return BoundedRun(
        plan, BoundedParts(LandRecords(plan.dataset, catalog, limits, plan.replay_id), coverage, records, flow), pace
    )


def _rewind_run(
    plan: ReplayPlan,
    stop: threading.Event,
    fill: BoundedRun,
    by: str,
    say: Say,
    admin: LogAdmin,
    control: Control,
    states: RewindStates,
    starts: Callable[[str], StartPositions],
    records: ReplayRecords,
    clock: Clock,
) -> RewindRun:
    rewind = Rewind(plan.dataset, admin, starts(plan.dataset))
    return RewindRun(plan, RewindParts(admin, control, states, rewind, records, clock, stop, fill), by, say)


class Container(containers.DeclarativeContainer):
    """One process' parts. Singletons are made on first use: after fork, and only what the command needs.

    `with container.connections():` closes at its end what was opened of admin, writer and store, in reverse order.
    """

    settings = providers.Dependency(instance_of=Settings)
    clock = providers.Singleton(SystemClock)
    catalog = providers.Singleton(OdcsContractCatalog, settings.provided.contracts)
    contract_files = providers.Singleton(OdcsContractFiles)

    event_log = providers.Selector(
        providers.Callable(scheme, "STREAMLAKE_EVENT_LOG", settings.provided.event_log, EVENT_LOGS),
        kafka=providers.Singleton(_kafka_log, settings),
        sqlite=providers.Singleton(_sqlite_log, settings, clock),
        memory=providers.Singleton(_memory_log, clock),
    )
    connections = providers.Singleton(lambda: ExitStack())
    admin = providers.Singleton(_admin, event_log, connections)
    writer = providers.Singleton(_writer, event_log, connections)
    reader = providers.Singleton(lambda log: log.reader(), event_log)

    object_store = providers.Selector(
        providers.Callable(scheme, "STREAMLAKE_OBJECT_STORE", settings.provided.object_store, OBJECT_STORES),
        gs=providers.Singleton(_gcs_store, settings, connections),
        file=providers.Singleton(_file_store, settings, connections),
        memory=providers.Singleton(MemoryObjectStore),
    )
    part_formats = providers.Singleton(
        PartFormats,
        providers.Dict(
            {
                "json": providers.Singleton(JsonPartFormat).provider,
                "json.gz": providers.Singleton(GzipJsonPartFormat).provider,
                "parquet": providers.Singleton(_parquet_format).provider,
            }
        ),
    )

    ingest = providers.Singleton(IngestEvents, catalog, writer, max_event_bytes=settings.provided.api.max_event_bytes)
    provision = providers.Singleton(
        ProvisionTopics, catalog, admin, max_event_bytes=settings.provided.api.max_event_bytes
    )
    control = providers.Singleton(Control, admin, reader, writer)
    raw_zone = providers.Factory(RawZone, store=object_store, formats=part_formats)
    patient_store = providers.Singleton(PatientStore, object_store, time.sleep)
    audit = providers.Factory(Audit, store=patient_store, formats=part_formats, admin=admin, reader=reader)
    audit_reports = providers.Factory(AuditReports, store=object_store)
    dead_letters = providers.Factory(DeadLetters, admin=admin, reader=reader)
    redriving = providers.Factory(
        _redrive_parts,
        admin=admin,
        reader=reader,
        writer=writer,
        store=object_store,
        formats=part_formats,
        catalog=catalog,
        clock=clock,
    )
    starts = providers.Factory(StartPositions, store=object_store, formats=part_formats, admin=admin, reader=reader)

    writer_name = providers.Singleton(_writer_name)
    part_logs = providers.Factory(
        _part_logs, store=object_store, formats=part_formats, catalog=catalog, settings=settings, writer=writer_name
    )
    plan_replays = providers.Singleton(
        PlanReplays,
        admin,
        reader,
        raw_zone.provider,
        providers.Factory(
            lambda landing: LandingLimits(landing.max_bytes, landing.max_records, landing.max_age_s),
            settings.provided.landing,
        ),
    )
    replay_records = providers.Singleton(ReplayRecords, object_store)
    replay_coverage = providers.Singleton(ReplayCoverage, raw_zone.provider, dead_letters.provider)
    bounded_replay = providers.Factory(
        _bounded_run,
        log=event_log,
        admin=admin,
        letters=writer,
        store=object_store,
        catalog=catalog,
        clock=clock,
        settings=settings,
        part_logs=part_logs.provider,
        coverage=replay_coverage,
        records=replay_records,
    )
    rewind_states = providers.Singleton(RewindStates, object_store)
    rewind_run = providers.Factory(
        _rewind_run,
        admin=admin,
        control=control,
        states=rewind_states,
        starts=starts.provider,
        records=replay_records,
        clock=clock,
    )
    replay = providers.Singleton(
        Replays,
        plan_replays,
        replay_records,
        bounded_replay.provider,
        rewind_run.provider,
        clock,
    )

    quality_engine = providers.Singleton(_quality_engine, settings)
    quality = providers.Singleton(
        Quality,
        catalog=catalog,
        store=object_store,
        formats=part_formats,
        engine=quality_engine,
        audits=audit_reports.provider,
    )
    quality_reports = providers.Singleton(DatedReports, object_store, QUALITY)
    status = providers.Singleton(
        Status, admin, object_store, control, starts.provider, audit_reports.provider, quality_reports, replay_records
    )
    summarize = providers.Singleton(
        Summarize,
        admin,
        reader,
        raw_zone.provider,
        dead_letters.provider,
        audit_reports.provider,
        quality_reports,
    )
    summaries = providers.Singleton(Summaries, object_store)
    landing_metrics = providers.Singleton(LandingMetrics)
    budget = providers.Singleton(lambda settings: MemoryBudget(settings.landing.memory_budget_mb * 1024**2), settings)
    consumer = providers.Factory(
        _consumer,
        log=event_log,
        admin=admin,
        letters=writer,
        store=object_store,
        formats=part_formats,
        catalog=catalog,
        clock=clock,
        settings=settings,
        part_logs=part_logs.provider,
        metrics=landing_metrics,
        budget=budget,
        replay_records=replay_records,
    )
