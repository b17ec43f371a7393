"""A real Apache Kafka for the tests, by a ladder: one that is given, one in Docker, one on the JVM, none.

    STREAMLAKE_TEST_KAFKA    bootstrap servers of a Kafka that is there already (no fault can be injected into it)
    Docker                   the apache/kafka image, where an engine answers
    the JVM                  Kafka's own Maven artifacts, fetched once into `.cache/kafka-<version>`: up in about 3 s

Brokers die with this process, also when it dies by SIGKILL (on Linux).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.services.tcp_proxy import TcpProxy

VERSION = "4.1.1"
IMAGE = f"apache/kafka:{VERSION}"
CACHE = Path(__file__).parents[2] / ".cache" / f"kafka-{VERSION}"
START_S = 90.0
"""A broker is up in 3 s on an idle machine; a loaded one with two cores needs its time."""

LISTENING = (15_000, 32_000)
"""Ports to listen on; Linux connects from 32,768 up (net.ipv4.ip_local_port_range), others from higher ones."""

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamlake.tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


class ServiceUnavailable(Exception):
    """No rung of the ladder holds; the message says why for each."""


class Broker(ABC):
    """One broker, and the faults that can befall it. Each method returns when its effect is there."""

    @abstractmethod
    def start(self) -> None:
        """Start, or start again on the same port with the same data. Does not wait until it serves."""

    @abstractmethod
    def kill(self) -> None:
        """kill -9: nothing is flushed, nobody is told."""

    @abstractmethod
    def stop_gracefully(self) -> None:
        """SIGTERM: leadership is handed over, logs are closed."""

    @abstractmethod
    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """SIGCONT: what was sent meanwhile is served now."""

    @abstractmethod
    def fault(self) -> str | None:
        """Why it is not running, or None where it is."""


class KafkaService:
    """A Kafka cluster. The brokers are numbered from 0; a given cluster has none to touch."""

    def __init__(self, bootstrap: str, brokers: Sequence[Broker] = (), rung: str = "given") -> None:
        self.bootstrap = bootstrap
        self.brokers = brokers
        self.rung = rung
        """Which rung of the ladder it stands on: given, docker or jvm."""
        self._silent: set[int] = set()

    @property
    def takes_faults(self) -> bool:
        """Can brokers be killed, paused and restarted?"""
        return bool(self.brokers)

    def kill(self, broker: int = 0) -> None:
        """kill -9 a broker."""
        self._silent.add(broker)
        self.brokers[broker].kill()

    def stop_gracefully(self, broker: int = 0) -> None:
        """Stop a broker with SIGTERM."""
        self._silent.add(broker)
        self.brokers[broker].stop_gracefully()

    def pause(self, broker: int = 0) -> None:
        """SIGSTOP a broker."""
        self._silent.add(broker)
        self.brokers[broker].pause()

    def resume(self, broker: int = 0) -> None:
        """SIGCONT a broker."""
        self.brokers[broker].resume()
        self._silent.discard(broker)

    def restart(self, broker: int = 0) -> None:
        """Start a broker that was killed or stopped, on its old port with its old data, and wait until it serves."""
        self.restart_all([broker])

    def restart_all(self, brokers: Sequence[int]) -> None:
        """`restart`, of several at once: one controller alone is no quorum, and would be waited for in vain."""
        for broker in brokers:
            self.brokers[broker].start()
            self._silent.discard(broker)
        self.wait_until_serving()

    def wait_until_serving(self, within_s: float = START_S) -> None:
        """Wait until every broker that is meant to run answers for itself and knows of them all.

        Raises ServiceUnavailable when that takes too long, or where one has ended.
        """
        deadline = time.monotonic() + within_s
        for n, address in enumerate(self.bootstrap.split(",")):
            if n in self._silent:
                continue
            while (seen := self._why_not_serving(n, address)) is not None:
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(f"Kafka at {address} does not serve after {within_s} s: {seen}")
                time.sleep(0.1)

    def _why_not_serving(self, n: int, address: str) -> str | None:
        if self.brokers and (fault := self.brokers[n].fault()):
            raise ServiceUnavailable(fault)
        # A fresh client asks this broker itself; one that knows the cluster already would ask another.
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        try:
            known = len(admin.list_topics(timeout=1).brokers)
        except KafkaException as e:
            return str(e.args[0])
        wanted = len(self.brokers) - len(self._silent)
        return None if known >= wanted else f"knows {known} of {wanted} brokers"


@contextmanager
def kafka(brokers: int = 1, *, faults: bool = False, behind: TcpProxy | None = None) -> Iterator[KafkaService]:
    """A Kafka of that many brokers. Raises ServiceUnavailable where none can be had.

    With `faults` it is one whose brokers can be killed and paused, so never the one that is given. A single broker
    that is `behind` a proxy is reached through it as well, and whoever comes that way is told to come back that way.
    """
    if not (faults or behind) and (given := os.environ.get("STREAMLAKE_TEST_KAFKA")):
        service = KafkaService(given)
        service.wait_until_serving(within_s=30)
        yield service
        return
    reasons = []
    for rung, missing in ((_on_docker, _why_no_docker(brokers, behind)), (_on_the_jvm, _why_no_jvm())):
        if missing:
            reasons.append(missing)
            continue
        with rung(brokers, behind) as service:
            yield service
        return
    given = "a given one takes no faults" if faults or behind else "STREAMLAKE_TEST_KAFKA is not set"
    raise ServiceUnavailable(f"no Kafka: {given}; " + "; ".join(reasons))


def settings(count: int) -> dict[str, str]:
    """What every broker of a test cluster is told, whatever it runs on."""
    copies = str(min(3, count))
    return {
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": str(min(2, count)),
        "transaction.state.log.num.partitions": "2",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "300",
        "group.consumer.heartbeat.interval.ms": "500",
        # A broker killed and started again waits for its old session to end: 3 s instead of 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.segment.delete.delay.ms": "1000",
        "log.cleaner.backoff.ms": "500",
    }


# --- Docker ----------------------------------------------------------------------------------------------------------


def _why_no_docker(brokers: int, behind: TcpProxy | None) -> str | None:
    if brokers > 1 or behind:
        return "Docker: only one broker is started there, and none behind a proxy"
    try:
        import docker  # type: ignore[import-untyped]
        from docker.errors import DockerException  # type: ignore[import-untyped]
    except ImportError:
        return "Docker: its Python client is not installed"
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except DockerException as e:
        return f"Docker: no engine answers ({type(e).__name__})"
    return None


class _Container(Broker):
    def __init__(self, port: int) -> None:
        from testcontainers.core.container import DockerContainer

        environment = {
            "node.id": "1",
            "process.roles": "broker,controller",
            "controller.quorum.voters": "1@localhost:29093",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://0.0.0.0:29093",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            **settings(1),
        }
        self._made = DockerContainer(IMAGE).with_bind_ports(port, port)
        for name, value in environment.items():
            self._made.with_env("KAFKA_" + name.replace(".", "_").upper(), value)
        self._made.with_env("KAFKA_HEAP_OPTS", "-Xmx512m")
        self._started = False

    def start(self) -> None:
        if self._started:
            self._made.get_wrapped_container().start()
        else:
            self._made.start()
            self._started = True

    def kill(self) -> None:
        self._made.get_wrapped_container().kill()
        self._made.get_wrapped_container().wait()

    def stop_gracefully(self) -> None:
        self._made.get_wrapped_container().stop(timeout=30)

    def pause(self) -> None:
        self._made.get_wrapped_container().pause()

    def resume(self) -> None:
        self._made.get_wrapped_container().unpause()

    def fault(self) -> str | None:
        container = self._made.get_wrapped_container()
        container.reload()
        return None if container.status != "exited" else f"the Kafka container has exited: {container.logs()[-2000:]!r}"

    def remove(self) -> None:
        self._made.stop()


@contextmanager
def _on_docker(_brokers: int, _behind: TcpProxy | None) -> Iterator[KafkaService]:
    (port,) = free_ports(1)
    broker = _Container(port)
    try:
        broker.start()
        service = KafkaService(f"127.0.0.1:{port}", [broker], "docker")
        service.wait_until_serving()
        yield service
    finally:
        broker.remove()


# --- the JVM ---------------------------------------------------------------------------------------------------------


def _why_no_jvm() -> str | None:
    if not shutil.which("java"):
        return "JVM: there is no java"
    if not _libraries().is_dir() and not shutil.which("mvn"):
        return f"JVM: {_libraries()} is not there, and no mvn to fetch it"
    return None


def _libraries() -> Path:
    return CACHE / "libs"


def fetch() -> Path:
    """The folder with Kafka's jars, fetched by Maven the first time. One process fetches, the others wait for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _libraries().is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
                (Path(fresh) / "pom.xml").write_text(POM)
                command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fresh}/libs"]
                done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    raise ServiceUnavailable(f"JVM: Maven could not fetch Kafka {VERSION}: {done.stdout[-2000:]}")
                (Path(fresh) / "libs").rename(_libraries())
    return _libraries()


class _Jvm(Broker):
    def __init__(self, folder: Path, node: int, options: Mapping[str, str], heap: str) -> None:
        self._node = node
        self._output = folder / "output.log"
        self._properties = folder / "server.properties"
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None

    def format(self, cluster: str) -> subprocess.Popen[bytes]:
        arguments = ["format", "--cluster-id", cluster, "--config", str(self._properties)]
        return self._java("kafka.tools.StorageTool", *arguments)

    def start(self) -> None:
        self._process = self._java("kafka.Kafka", str(self._properties))

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop_gracefully(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def fault(self) -> str | None:
        if self._process is None or self._process.poll() is None:
            return None
        return f"Kafka broker {self._node} ended with {self._process.returncode}: {self.said()}"

    def said(self) -> str:
        """The end of what it has printed, also while formatting."""
        return self._output.read_text(errors="replace")[-2000:]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"Kafka broker {self._node} is not running")
        return self._process

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)

    def _java(self, *command: str) -> subprocess.Popen[bytes]:
        # The serial collector and the first compiler tier alone start fastest and spare the other core.
        flags = [f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
        # The native libraries that a killed broker has unpacked go with its folder.
        flags.append(f"-Djava.io.tmpdir={self._output.parent}")
        with self._output.open("ab") as output:
            return spawn(["java", *flags, "-cp", f"{_libraries()}/*", *command], output.fileno())


@contextmanager
def _on_the_jvm(count: int, behind: TcpProxy | None) -> Iterator[KafkaService]:
    fetch()
    with contextlib.ExitStack() as started:
        try:
            service = started.enter_context(_started(count, behind))
        except ServiceUnavailable as e:
            # Whatever came between, such as another's listener on a port that was free: with new ones it is over.
            print(f"Kafka did not start and is started anew: {e}", file=sys.stderr)
            service = started.enter_context(_started(count, behind))
        yield service


@contextmanager
def _started(count: int, behind: TcpProxy | None) -> Iterator[KafkaService]:
    folder = Path(tempfile.mkdtemp(prefix="streamlake-kafka-"))
    ports = free_ports(2 * count + 1)
    serving, controlling, proxied = ports[:count], ports[count:-1], ports[-1]
    voters = ",".join(f"{n + 1}@127.0.0.1:{port}" for n, port in enumerate(controlling))
    brokers = []
    for n in range(count):
        home = folder / str(n + 1)
        home.mkdir()
        options = {
            "node.id": str(n + 1),
            "process.roles": "broker,controller",
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{serving[n]},CONTROLLER://127.0.0.1:{controlling[n]}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(home / "data"),
            **settings(count),
        }
        if behind:
            behind.target = proxied
            options |= _second_door(options["listeners"], serving[n], behind)
        brokers.append(_Jvm(home, n + 1, options, "512m" if count == 1 else "320m"))
    try:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        for broker, formatting in [(broker, broker.format(cluster)) for broker in brokers]:
            if status := formatting.wait(START_S):
                raise ServiceUnavailable(f"JVM: kafka-storage format ended with {status}: {broker.said()}")
        for broker in brokers:
            broker.start()
        service = KafkaService(",".join(f"127.0.0.1:{port}" for port in serving), brokers, "jvm")
        service.wait_until_serving()
        yield service
    finally:
        for broker in brokers:
            broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _second_door(listeners: str, serving: int, behind: TcpProxy) -> dict[str, str]:
    """Options of another listener, at whose port the proxy knocks."""
    return {
        "listeners": f"{listeners},PROXIED://127.0.0.1:{behind.target}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{serving},PROXIED://127.0.0.1:{behind.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }


# --- processes -------------------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different.

    They lie below those that a kernel gives to outgoing connections, so that none of these takes one before it is
    listened on, or while its broker is down.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = random.SystemRandom().randrange(*LISTENING)
            try:
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise
                continue
            found.append(port)
    return found


def spawn(command: Sequence[str], output: int, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process that does not outlive this one.

    It has a session of its own, so that Ctrl-C reaches the tests first and they take it down in order.
    """
    # The signal of a parent's death comes with the death of the *thread* that forked: one that lasts does it for all.
    process = _SPAWNER.submit(
        subprocess.Popen,  # prctl is all that runs between fork and exec, and it takes no lock
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ).result()
    atexit.register(_take_down, process)
    return process


_SPAWNER = ThreadPoolExecutor(1, "spawner")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_down(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
