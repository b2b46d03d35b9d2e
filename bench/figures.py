"""What every benchmark has in common: figures with a goal and an anchor, a table, a JSON file."""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    figure, value, unit
        What was measured.
    goal
        The bound it should keep, as text (">= 0.8"), or "" where none is set.
    ok
        Whether it keeps the goal; None without one.
    anchor
        What it is compared with in the same run, and that one's value; "" without one.
    """

    figure: str
    value: float
    unit: str
    goal: str = ""
    ok: bool | None = None
    anchor: str = ""


def at_most(figure: str, value: float, unit: str, bound: float, anchor: str = "") -> Figure:
    """Make a figure whose goal is an upper bound."""
    return Figure(figure, _digits(value), unit, f"≤ {bound:g}", value <= bound, anchor)


def at_least(figure: str, value: float, unit: str, bound: float, anchor: str = "") -> Figure:
    """Make a figure whose goal is a lower bound."""
    return Figure(figure, _digits(value), unit, f"≥ {bound:g}", value >= bound, anchor)


def plain(figure: str, value: float, unit: str, anchor: str = "") -> Figure:
    """Make a figure without a goal."""
    return Figure(figure, _digits(value), unit, anchor=anchor)


def percentile_95(values: Sequence[float]) -> float:
    """Return the 95th percentile of at least two values."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = ["| figure | value | goal | | anchor |", "|---|---|---|---|---|"]
    for item in figures:
        mark = {True: "met", False: "**not met**", None: ""}[item.ok]
        value = f"{item.value:g} {item.unit}"
        rows.append(f"| {item.figure} | {value} | {item.goal} | {mark} | {item.anchor} |")
    return "\n".join(rows)


def main(description: str, measure: Callable[[bool], list[Figure]]) -> None:
    """Run one benchmark from the command line.

    Parameters
    ----------
    description
        First line of `--help`.
    measure
        Gets True for `--quick` (a minute or a few) and returns the figures.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="short runs, for a look")
    arguments = parser.parse_args()
    figures = measure(arguments.quick)
    print(table(figures))
    if arguments.json:
        write(arguments.json, figures)


def write(path: Path, figures: list[Figure]) -> None:
    """Write figures as a JSON list."""
    rows = [asdict(figure) for figure in figures]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _digits(value: float) -> float:
    """Three significant digits: more would not come back in the next run."""
    return float(f"{value:.3g}")
