"""``python -m benchmarks [CASE ...]``: one table. ``--json FILE`` keeps the figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import cart, images, process, spool, throughput
from benchmarks.cine import cine
from benchmarks.conducting import conduct
from benchmarks.digest import digest
from benchmarks.fleet import fleet
from benchmarks.guard import guard
from benchmarks.machine import machine
from benchmarks.networks import built
from benchmarks.pruning import pruning
from benchmarks.segment import segment
from benchmarks.timing import Row
from benchmarks.together import together

CASES: dict[str, Callable[[Path, Path, int], Iterator[Row]]] = {
    "xray": images.uncompressed,
    "jpeg2000": images.jpeg2000,
    "jpeg": images.jpeg,
    "guard": guard,
    "segment": segment,
    "cine": cine,
    "folder": throughput.in_a_row,
    "arrival": cart.arrival,
    "cart": throughput.cart,
    "receive": cart.receive,
    "digest": digest,
    "together": together,
    "spool": spool.growth,
    "cold": process.cold_start,
    "memory": cart.memory,
    "pruning": pruning,
    "conduct": conduct,
    "fleet": fleet,
}
ONLY_NAMED = ("fleet",)
"""What takes many minutes: measured when it is asked for by name."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    which = f"out of {', '.join(CASES)}; all but {', '.join(ONLY_NAMED)} when none is named"
    parser.add_argument("case", nargs="*", help=which)
    parser.add_argument("--rounds", type=int, default=21, help="how often the short cases take turns with their limit")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    unknown = [case for case in options.case if case not in CASES]
    if unknown:
        parser.error(f"unknown case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    console = Console(width=max(120, Console().width))
    before = machine()
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="edgeai-bench-") as name:
        folder = Path(name)
        with console.status("building the 224-pixel bundle"):
            bundle = built(folder, "small")
        for case in options.case or [case for case in CASES if case not in ONLY_NAMED]:
            with console.status(case):
                rows += CASES[case](folder, bundle, max(5, options.rounds))
    console.print(_table(rows))
    for row in rows:
        for note in row.notes:
            console.print(f"{row.case}: {note}")
    if options.json:
        kept = {"machine": before, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _table(rows: list[Row]) -> Table:
    table = Table("case", "edgeai", "limit, measured in this run", "ratio (quartiles)", "to reach", "", padding=(0, 0))
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        if row.spread != (0.0, 0.0):
            ratio += f" ({row.spread[0]:.2f}-{row.spread[1]:.2f})"
        sign = "at least" if row.at_least else "at most"
        mark = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[row.is_reached]
        table.add_row(row.case, row.ours, row.limit, ratio, f"{sign} {row.bound:g}" if row.bound else "", mark)
    return table


if __name__ == "__main__":
    main()
