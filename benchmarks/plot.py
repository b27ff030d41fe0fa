"""Plot: docs/explanation/benchmarks.svg, the ratios to native runs; only this needs matplotlib."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.page import Found
    from benchmarks.results import Row
    from benchmarks.ways import Way

MARKERS = "vP*X<>hdp8"
COLOURS = {"guardians": "tab:blue", "notify": "tab:orange", "default": "tab:blue"}
VIEWS = {"": "o", "unused": "s", "bind": "D", "archive": "^"}  # the same mark with each engine
OTHERS = (
    "tab:green",
    "tab:red",
    "tab:purple",
    "tab:brown",
    "tab:pink",
    "tab:olive",
    "tab:cyan",
    "black",
    "gray",
)


def marks(ways: list[Way]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each way: a colour for each engine, a mark for each kind of view, and others."""
    found, others = {}, 0
    for way in ways:
        engine, _, view = way.key.partition("-")
        if engine in COLOURS:
            found[way.key] = COLOURS[engine], VIEWS[view]
        else:
            found[way.key] = OTHERS[others % len(OTHERS)], MARKERS[others % len(MARKERS)]
            others += 1
    return found


def ratios_of(found: Found, rows: list[Row], way: Way) -> list[tuple[float, int]]:
    """The ratios of a way, each with the place of its row."""
    found_ratios = ((found.results.ratio(row, way.key, way.native), place) for place, row in enumerate(rows))
    return [(ratio, place) for ratio, place in found_ratios if ratio is not None]


def panel(axes: Any, found: Found, rows: list[Row], title: str) -> None:
    """One field: a line for each row, a mark for each way, on a logarithmic scale."""
    ways = [way for way in found.ways if way.key != way.native]
    mark_of = marks(ways)
    step = 0.8 / max(len(ways), 1)
    for index, way in enumerate(ways):
        points = ratios_of(found, rows, way)
        axes.scatter(
            [ratio for ratio, _ in points],
            [place - 0.4 + step * (index + 0.5) for _, place in points],
            s=22,
            marker=mark_of[way.key][1],
            color=mark_of[way.key][0],
            label=way.title,
        )
    axes.set_title(title)
    axes.set_xscale("log")
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("times native (less is better)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, axis="x", which="both", alpha=0.25)
    for place in range(1, len(rows)):
        axes.axhline(place - 0.5, color="gray", linewidth=0.4, alpha=0.5)


def plot(found: Found, file: Path) -> None:
    """Write the SVG; the same results give the same bytes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "diorama", "font.size": 9}
    from matplotlib import pyplot as plt

    fields = [("Single operations", found.micro), ("Workloads", found.workloads)]
    fields = [(title, rows) for title, rows in fields if rows]
    height = max(4.0, 0.5 * max(len(rows) for _, rows in fields) + 2.5)
    figure, all_axes = plt.subplots(1, len(fields), figsize=(6.5 * len(fields), height), squeeze=False)
    for axes, (title, rows) in zip(all_axes[0], fields, strict=True):
        panel(axes, found, rows, title)
    handles, labels = all_axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    legend = 0.2 * -(-len(labels) // 4) + 0.15  # inches
    figure.tight_layout(rect=(0, legend / height, 1, 1))
    figure.savefig(file, format="svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    file.write_text(re.sub(r"[ \t]+$", "", file.read_text(), flags=re.MULTILINE))
