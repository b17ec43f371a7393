"""Run a command with real services around it: `python -m tests.services [--kafka] [--gcs] -- command args...`.

Without a choice both are started. The command finds them in its environment, as StreamLake's settings and as the
tests' own; its exit code and the signals sent here are passed on, and everything is stopped after it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

from tests.services.kafka import ServiceUnavailable, kafka

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNAVAILABLE = 3


def main(arguments: Sequence[str]) -> int:
    """Start, run, stop; the exit code of the command, or 3 where a service cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("--kafka", action="store_true", help="start Apache Kafka")
    parser.add_argument("--gcs", action="store_true", help="start fake-gcs-server")
    parser.add_argument("--brokers", type=int, default=1, help="how many Kafka brokers (default: 1)")
    parser.add_argument("command", nargs="+", help="the command, after --")
    chosen = parser.parse_args(arguments)
    both = not chosen.kafka and not chosen.gcs
    # A signal that comes while the services start or stop must still take them down in order.
    for number in PASSED_ON:
        signal.signal(number, _exit)
    with ExitStack() as services:
        environment = dict(os.environ)
        try:
            if chosen.kafka or both:
                environment |= _with_kafka(services, chosen.brokers)
            if chosen.gcs or both:
                environment |= _with_gcs(services)
        except ServiceUnavailable as e:
            print(e, file=sys.stderr)
            return UNAVAILABLE
        return _run(chosen.command, environment)


def _with_kafka(services: ExitStack, brokers: int) -> dict[str, str]:
    bootstrap = services.enter_context(kafka(brokers)).bootstrap
    return {"STREAMLAKE_EVENT_LOG": f"kafka://{bootstrap}", "STREAMLAKE_TEST_KAFKA": bootstrap}


def _with_gcs(services: ExitStack) -> dict[str, str]:
    from tests.services.gcs import gcs

    endpoint = services.enter_context(gcs()).endpoint
    return {
        "STREAMLAKE_OBJECT_STORE": f"gs://streamlake-{uuid.uuid4().hex[:12]}",
        "STORAGE_EMULATOR_HOST": endpoint,
        "STREAMLAKE_TEST_GCS_ENDPOINT": endpoint,
    }


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    # In a session of its own the command gets each signal once, from here, and not from the terminal as well.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    for number in PASSED_ON:
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    code = process.wait()
    return code if code >= 0 else 128 - code


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
