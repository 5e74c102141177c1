"""Durations and counters, written in the transactions that they measure, so that no restart loses them."""

from __future__ import annotations

import bisect
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from edgeai.spool.rows import json_object
from edgeai.spool.store import Store

BUCKETS_MS = (0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0)
"""Upper bounds, milliseconds; one more bucket holds what is above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Durations of one stage of one deployment since the spool was made.

    Attributes:
        counts: a number for each bound of ``BUCKETS_MS`` and one for what is above; not cumulative.
        sum_ms: of all durations.
    """

    deployment: str
    stage: str
    counts: tuple[int, ...]
    sum_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A number that only rises: ``results``, ``selftests``, ``faults``, ``restarts``, with what distinguishes it."""

    name: str
    labels: Mapping[str, str]
    value: int


def add_duration(db: sqlite3.Connection, deployment: str, stage: str, duration_ms: float) -> None:
    """Count one duration in a transaction that is under way."""
    bucket = bisect.bisect_left(BUCKETS_MS, duration_ms)
    db.execute(
        "INSERT INTO stage_counts (deployment, stage, bucket, count) VALUES (?, ?, ?, 1)"
        " ON CONFLICT DO UPDATE SET count = count + 1",
        (deployment, stage, bucket),
    )
    db.execute(
        "INSERT INTO stage_sums (deployment, stage, sum_ms) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET sum_ms = sum_ms + excluded.sum_ms",
        (deployment, stage, duration_ms),
    )


def add_count(db: sqlite3.Connection, name: str, step: int = 1, /, **labels: str) -> None:
    """Count one, or ``step``, in a transaction that is under way."""
    db.execute(
        "INSERT INTO counters (name, labels, value) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = value + excluded.value",
        (name, json.dumps(labels, sort_keys=True), step),
    )


class Metrics(Store):
    """What the metrics endpoint and ``status`` read."""

    def histograms(self) -> list[Histogram]:
        """Every stage of every deployment: ``queue``, those of ``Result.timings_ms``, and ``publish-<sink>``."""
        counts: dict[tuple[str, str], list[int]] = {}
        with self.db.read() as db:
            for deployment, stage, bucket, count in db.execute(
                "SELECT deployment, stage, bucket, count FROM stage_counts WHERE bucket BETWEEN 0 AND ?",
                (len(BUCKETS_MS),),
            ):
                if isinstance(deployment, str) and isinstance(stage, str) and isinstance(count, int):
                    counts.setdefault((deployment, stage), [0] * (len(BUCKETS_MS) + 1))[bucket] = count
            sums = {
                (row[0], row[1]): float(row[2])
                for row in db.execute("SELECT deployment, stage, sum_ms FROM stage_sums")
            }
        return [
            Histogram(deployment=key[0], stage=key[1], counts=tuple(counted), sum_ms=sums.get(key, 0.0))
            for key, counted in sorted(counts.items())
        ]

    def counters(self) -> list[Counter]:
        """Each with its labels, as ``docs/reference/metrics.md`` lists them."""
        with self.db.read() as db:
            rows = db.execute("SELECT name, labels, value FROM counters ORDER BY name, labels").fetchall()
        return [
            Counter(name=name, labels=read, value=value)
            for name, labels, value in rows
            if (read := json_object(labels)) is not None and isinstance(value, int)
        ]

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        with self.db.write(durable=False) as db:
            add_count(db, name, **labels)
