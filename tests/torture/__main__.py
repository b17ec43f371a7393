"""Torture StreamLake: `python -m tests.torture --seed n --minutes m [--brokers 1|3]`.

Real Kafka, a store behind a proxy that fails it, the API and three consumers under kill -9, SIGSTOP, SIGTERM and every
class of fault; an observer that finds whatever is lost, doubled or changed. The last line has the verdict and figures.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import shutil
import sys
import time
from pathlib import Path

from tests.services.kafka import ServiceUnavailable
from tests.torture.run import torture

KEEP = Path(__file__).parents[2] / ".cache" / "torture"
UNAVAILABLE = 3
SLACK_S = 600


def main() -> int:
    """0: passed; 1: a promise did not hold; 3: no Kafka or no GCS API to be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what happens, and when")
    parser.add_argument("--minutes", type=float, default=1.5, help="how long faults go on (default: 1.5)")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="how many Kafka brokers")
    parser.add_argument("--out", type=Path, help="append the figures to this file, as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the history of a run that passed, too")
    chosen = parser.parse_args()
    logging.getLogger("streamlake.kafka").setLevel(logging.CRITICAL)  # the observer's clients: brokers are away, yes
    faulthandler.dump_traceback_later(chosen.minutes * 60 + SLACK_S, exit=True)
    folder = KEEP / f"seed-{chosen.seed}-brokers-{chosen.brokers}-{time.strftime('%H%M%S')}"
    folder.mkdir(parents=True)
    try:
        report = torture(chosen.seed, chosen.minutes * 60, chosen.brokers, folder)
    except ServiceUnavailable as e:
        print(f"torture: not run: {e}")
        return UNAVAILABLE
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        report.append_to(chosen.out)
    if report.passed and not chosen.keep:
        shutil.rmtree(folder)
    else:
        for what in report.broken:
            print(f"  {what}")
        print(f"  history: {folder}")
    print(report.line())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
