"""One run: a world is made, suffers what its seed says, is left in peace, and has to be whole again."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
from tests.integration.faulty import SESSION_S, FaultyWorld, PatientProducer
from tests.integration.system import Answers, wait_until, wait_until_ready
from tests.services.fault_proxy import fault_proxy
from tests.services.faults import Fault
from tests.services.gcs import gcs
from tests.services.kafka import kafka
from tests.torture.auditor import Auditor
from tests.torture.fleet import Diary, Member, Supervisor
from tests.torture.midnight import MidnightProducer
from tests.torture.observer import Observer
from tests.torture.plan import API_DEEDS, BROKER_DEEDS, CONSUMER_DEEDS, CONSUMERS, draw
from tests.torture.report import Report, keep_history
from tests.torture.storms import Storms
from tests.torture.takeover import takeovers

from streamlake.domain.errors import StreamLakeError

RECOVERY_S = 60.0 + SESSION_S
PACE_S = 0.05
PARTITIONS_SHOWN = 5
assert set(API_DEEDS) <= set(CONSUMER_DEEDS)


def torture(seed: int, seconds: float, brokers: int, folder: Path) -> Report:
    """The report; `folder` holds the processes' logs and the history then. Raises ServiceUnavailable."""
    report = Report(seed, seconds, brokers)
    plan = draw(seed, seconds, brokers, SESSION_S)
    diary = Diary()
    with ExitStack() as made:
        log = made.enter_context(kafka(brokers))
        upstream = made.enter_context(gcs()).endpoint
        proxy = made.enter_context(fault_proxy(upstream, seed))
        world = FaultyWorld(folder, log.bootstrap, proxy, upstream, f"t{uuid.uuid4().hex[:10]}")
        made.callback(world.close)
        world.set_up()
        members = {"api": Member(world, diary, "api", ["api"])}
        for number in range(1, CONSUMERS + 1):
            name = f"consumer-{number}"
            members[name] = Member(world, diary, name, ["consumer", "--dataset", world.dataset])
        for member in members.values():
            wait_until_ready(member.child)
        wait_until("all have joined", lambda: world.members() == CONSUMERS)
        supervisor = Supervisor(list(members.values()))
        observer, weight = Observer(world), Scales(list(members.values()))
        observer.start()
        auditor = Auditor(world, upstream)
        storms = Storms(plan, world, log, members, diary)
        # Whatever goes wrong, also here: what happened is written down.
        made.callback(lambda: keep_history(folder, report, plan, diary.events, proxy.faults.history, observer))
        producer = PatientProducer(members["api"].child, world.dataset, seed, pace_s=PACE_S)
        midnight = MidnightProducer(world.dataset, storms.append, seed)
        diary.note("world", "begin")
        storms.run()
        midnight.stop()
        answers = producer.stop()
        diary.note("world", "healed")
        report.recovery_s = _recover(world, report.broken)
        diary.note("world", "recovered")
        observer.stop()
        auditor.stop()
        supervisor.stop()
        report.rss_mb = weight.stop()
        for member in members.values():
            member.retire()
        report.broken += [fault for broker in log.brokers if (fault := broker.fault())]
        _judge(world, report, answers, storms)
        auditor.audit("--deep")
        report.broken += auditor.broken
        if not auditor.exits[0]:
            report.broken.append(f"no audit could look, in the end either: {dict(auditor.exits)}")
        _tell(report, diary, observer, members, storms, world)
        logs = {name: member.child.log for name, member in members.items() if name != "api"}
        report.takeover_s = [round(s, 1) for s in takeovers(diary.events, logs)]
    return report


class Scales:
    """The largest memory of any consumer, looked at now and then."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = [member for member in members if member.name != "api"]
        self._largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The largest resident set seen, in MB."""
        self._stop.set()
        self._thread.join()
        return self._largest // 1_000_000

    def _run(self) -> None:
        while not self._stop.wait(1):
            for member in self._members:
                try:
                    self._largest = max(self._largest, psutil.Process(member.child.process.pid).memory_info().rss)
                except psutil.Error:
                    continue


def _recover(world: FaultyWorld, broken: list[str]) -> float | None:
    """Wait for lag 0; how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < RECOVERY_S + 60:
        try:
            if world.all_committed():
                took = time.monotonic() - began
                if took > RECOVERY_S:
                    broken.append(f"lag 0 took {took:.0f} s, {RECOVERY_S:.0f} s are promised")
                return took
        except StreamLakeError as e:
            if time.monotonic() - began > RECOVERY_S:
                broken.append(f"the log does not answer: {e}")
                return None
        time.sleep(0.1)
    broken.append(f"lag is not 0 after {time.monotonic() - began:.0f} s: {world.committed()}")
    return None


def _judge(world: FaultyWorld, report: Report, answers: Answers, storms: Storms) -> None:
    """Set equality, byte equality, and every answer kept: read from the outside, after all have gone."""
    wait_until("nothing is held by the proxy", lambda: not world.faults.pending, 30)
    verdict = world.observe()
    faults = verdict.faults()
    for name, places in faults.items():
        report.broken.append(f"{name}: {len(places)}, first {places[:PARTITIONS_SHOWN]}")
    report.duplicates, report.missing = len(faults.get("duplicated", ())), len(faults.get("missing", ()))
    report.records, report.letters, report.parts = len(verdict.log), len(verdict.letters), len(world.parts())
    report.accepted = len(answers.accepted)
    landed = {i: place[1:] for i, place in verdict.ids.items()}
    if lost := [i for i, place in answers.accepted.items() if landed.get(i) != place]:
        report.broken.append(f"answered 2xx and not landed there: {len(lost)}, first {lost[:PARTITIONS_SHOWN]}")
    if lost := [i for i, body in answers.lettered.items() if verdict.api_letters.get(i) != body]:
        report.broken.append(f"answered 422 and not lettered as sent: {len(lost)}, first {lost[:PARTITIONS_SHOWN]}")
    there = {place[1:] for place in verdict.log}
    if gone := [at for at in storms.straight if (at.partition, at.offset) not in there]:
        report.broken.append(f"acknowledged by Kafka and not in the log: {gone[:PARTITIONS_SHOWN]}")
    if not answers.accepted or not verdict.letters or not storms.straight:
        report.broken.append("the run had no traffic to speak of")


def _tell(
    report: Report,
    diary: Diary,
    observer: Observer,
    members: dict[str, Member],
    storms: Storms,
    world: FaultyWorld,
) -> None:
    """Gather what others found, and see that the run was as hard as it was meant to be."""
    report.broken += observer.broken + storms.broken
    for member in members.values():
        report.broken += member.broken
        report.exit_s = [*report.exit_s, *(round(s, 1) for s in member.exit_s)]
    report.kills, report.stops, report.terms = (diary.count(what) for what in ("kill", "stop", "term"))
    report.kills -= diary.count("kill", "broker")
    report.stops -= diary.count("stop", "broker")
    report.broker_faults = diary.count("back", "broker")
    report.restarts = diary.count("exit")
    report.store_faults = world.faults.figures()
    report.looks, report.blind, report.regressions = observer.rounds, dict(observer.blind), observer.regressions
    if idle := [fault.value for fault in Fault if not world.faults.counts[fault]]:
        report.broken.append(f"befell nobody, so proved nothing: {', '.join(idle)}")
    for what in (*BROKER_DEEDS[report.brokers], "grow", "poison"):
        if not diary.count(what):
            report.broken.append(f"was meant to happen and did not: {what}")
    if not min(report.kills, report.stops, report.terms, report.looks):
        report.broken.append("a kill, a stop, a SIGTERM or the observer is missing")
