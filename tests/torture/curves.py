"""Descriptors and memory of a cart's processes over a soak: samples, slopes, a table and a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

WARM_SHARE = 0.3
"""Of a phase's samples: allocators and caches fill up first, and the slope is that of the rest."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One process at one moment of one phase, after so many units of work."""

    phase: str
    done: int
    role: str
    descriptors: int
    rss_kb: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One process over one phase. Slopes are per 1,000 units, of the part after warming up."""

    phase: str
    role: str
    units: int
    descriptors: tuple[int, int]
    rss_kb: tuple[int, int]
    descriptors_slope: float
    rss_kb_slope: float
    descriptors_rise: float
    rss_kb_rise: float


@dataclass
class Curves:
    """All samples of a soak."""

    samples: list[Sample] = field(default_factory=list)

    def take(self, phase: str, done: int, processes: Mapping[str, int]) -> None:
        """Look at every process now."""
        for role, pid in sorted(processes.items()):
            try:
                descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            self.samples.append(Sample(phase=phase, done=done, role=role, descriptors=descriptors, rss_kb=rss))

    def curves(self) -> list[Curve]:
        """One for each phase and process."""
        keys = dict.fromkeys((item.phase, item.role) for item in self.samples)
        return [self._curve(phase, role) for phase, role in keys]

    def _curve(self, phase: str, role: str) -> Curve:
        mine = [item for item in self.samples if (item.phase, item.role) == (phase, role)]
        warm = mine[int(len(mine) * WARM_SHARE) :]
        third = max(1, len(warm) // 3)

        def rise(values: Sequence[int]) -> float:
            """From the first third to the last: one odd sample makes no slope."""
            return median(values[-third:]) - median(values[:third])

        done = [item.done for item in warm]
        descriptors, rss = [item.descriptors for item in warm], [item.rss_kb for item in warm]
        return Curve(
            phase=phase,
            role=role,
            units=mine[-1].done,
            descriptors=(mine[0].descriptors, mine[-1].descriptors),
            rss_kb=(mine[0].rss_kb, mine[-1].rss_kb),
            descriptors_slope=slope(done, descriptors),
            rss_kb_slope=slope(done, rss),
            descriptors_rise=rise(descriptors),
            rss_kb_rise=rise(rss),
        )

    def table(self) -> str:
        """For a reader."""
        head = f"{'phase':14}{'process':16}{'units':>7}{'descriptors':>16}{'/1000':>8}{'MB':>16}{'kB/1000':>10}"
        lines = [head, "-" * len(head)]
        for item in self.curves():
            fds = f"{item.descriptors[0]} -> {item.descriptors[1]}"
            memory = f"{item.rss_kb[0] / 1024:.1f} -> {item.rss_kb[1] / 1024:.1f}"
            lines.append(
                f"{item.phase:14}{item.role:16}{item.units:>7}{fds:>16}{item.descriptors_slope:>8.2f}"
                f"{memory:>16}{item.rss_kb_slope:>10.0f}"
            )
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Every sample as a line of CSV."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("phase", "done", "role", "descriptors", "rss_kb"))
            writer.writerows((s.phase, s.done, s.role, s.descriptors, s.rss_kb) for s in self.samples)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least squares, per 1,000 of ``x``; 0 where ``x`` does not move."""
    mean_x, mean_y = fmean(x), fmean(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return 1000.0 * sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0
