"""`python -m tests.simulation --seeds 50000 [--start N] [--jobs 2]`, or `--seed N` for the whole story of one."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.simulation.play import Played, play, shrink

CHUNK = 50


def _chunk(seeds: range) -> list[Played]:
    return [play(seed) for seed in seeds]


@contextmanager
def _played(seeds: range, jobs: int) -> Iterator[Iterable[Played]]:
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        yield (each for chunk in chunks for each in _chunk(chunk))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            yield (each for chunk in pool.map(_chunk, chunks) for each in chunk)


def _one(seed: int) -> int:
    played = play(seed, tell=True)
    print(*played.story, sep="\n")
    print(f"simulate: seed {seed}: {played.verdict}")
    return 0 if played.verdict else 1


def _many(seeds: range, jobs: int) -> int:
    counts: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    steps = 0
    first: Played | None = None
    begun, used = time.perf_counter(), time.process_time()
    with _played(seeds, jobs) as played:
        for number, each in enumerate(played, start=1):
            counts.update(each.counts)
            verdicts[each.verdict.word] += 1
            steps += each.steps
            if not each.verdict:
                print(f"seed {each.seed}: {each.verdict}")
                first = first or each
            if number % 1000 == 0:
                print(f"{number} worlds, {steps} steps, {time.perf_counter() - begun:.0f} s", flush=True)
    seconds = time.process_time() - used if jobs == 1 else (time.perf_counter() - begun) * jobs
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    if first is not None:
        story = shrink(first.seed)
        print(f"the shortest story of seed {first.seed} that still fails:", *story.story, story.verdict, sep="\n")
    told = ", ".join(f"{word} {count}" for word, count in sorted(verdicts.items()))
    print(f"simulate: {told}; {len(seeds)} worlds, {steps} steps, {steps / max(seconds, 1e-9):.0f} steps/s a core")
    return 0 if first is None else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes play")
    parser.add_argument("--seed", type=int, help="one world, told in full")
    given = parser.parse_args()
    run = partial(_one, given.seed) if given.seed is not None else None
    return run() if run else _many(range(given.start, given.start + given.seeds), given.jobs)


if __name__ == "__main__":
    sys.exit(main())
