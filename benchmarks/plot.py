"""The figures as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no display

from matplotlib import pyplot as plt

from benchmarks.events import EVENT_BYTES
from benchmarks.figures import OURS, Landing, Point

OTHERS = "#9aa5b1"
STREAMLAKE = "#2563eb"


def plot_landing(landing: Landing, path: Path) -> None:
    """Speed and CPU of every system: medians as bars, min to max as lines on them."""
    systems = list(landing.runs)[::-1]
    figure, (speed, cpu) = plt.subplots(1, 2, figsize=(11, 0.55 * len(systems) + 1.4), sharey=True)
    speeds = [landing.figure(system, lambda run: run.records_per_s / 1000) for system in systems]
    costs = [landing.figure(system, lambda run: run.cpu_per_million) for system in systems]
    for axes, values, title in (
        (speed, speeds, "thousand records/s (more is better)"),
        (cpu, costs, "CPU s per million records (less is better)"),
    ):
        middle = [value[1] for value in values]
        errors = [[value[1] - value[0] for value in values], [value[2] - value[1] for value in values]]
        colours = [STREAMLAKE if system.startswith(OURS) else OTHERS for system in systems]
        bars = axes.barh(systems, middle, xerr=errors, color=colours, ecolor="#374151", capsize=3)
        axes.bar_label(bars, labels=[f"{value:,.0f}" for value in middle], padding=6)
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    told = f"{landing.records:,} records of {EVENT_BYTES} bytes, {landing.rounds} rounds; {landing.about['machine']}"
    figure.suptitle(told, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_shapes(points: Sequence[Point], path: Path) -> None:
    """One panel per shape: what a record costs, from zero; of sizes, what a megabyte costs."""
    shapes = list(dict.fromkeys(point.shape for point in points))
    figure, panels = plt.subplots(1, len(shapes), figsize=(3.2 * len(shapes), 3), squeeze=False)
    for axes, shape in zip(panels[0], shapes, strict=True):
        mine = [point for point in points if point.shape == shape]
        bars = axes.bar([point.at for point in mine], [point.cost for point in mine], color=STREAMLAKE)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
        axes.set_title(f"{shape}: {mine[0].unit}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
