"""What an update asks of the spool: who waits, how it went so far, who died, and what was said of the slots' moves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgeai.spool.counters import Metrics
from edgeai.spool.outbox import queue_event
from edgeai.spool.rows import whole

OWN_DEATHS: Final = ("crashed", "deadline", "memory", "silent")
"""Causes of deaths that were a process's own doing (``edgeai.roles.deaths``)."""

WORK: Final = ("header", "decode", "transform", "guard", "run", "interpret")
"""Stages of ``Result.timings_ms`` that are work on an image, and no waiting."""

_TOLD: Final = "moves_told"
_LATELY: Final = 100
_SERIES: Final = "CASE WHEN json_valid(i.ref) THEN json_extract(i.ref, '$.series_instance_uid') END"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """An event about one move of a deployment's slots; ``sequence`` rises with each."""

    sequence: int
    kind: str
    message: str
    facts: Mapping[str, object]


class Updating(Metrics):
    """What infer asks while a deployment takes updates."""

    def is_mid_series(self, deployment: str, within_s: float) -> bool:
        """Whether an image waits whose series has given a result on this deployment in the last ``within_s`` s."""
        with self.db.read() as db:
            row = db.execute(
                f"SELECT 1 FROM jobs AS j JOIN instances AS i ON i.id = j.instance"  # noqa: S608
                f" WHERE j.deployment = ?1 AND j.state <> 'done' AND {_SERIES} IN"
                f" (SELECT {_SERIES} FROM jobs AS j JOIN instances AS i ON i.id = j.instance WHERE j.state = 'done'"
                f" AND j.finished_at > ?2 AND j.deployment = ?1 AND {_SERIES} <> '') LIMIT 1",
                (deployment, time.time() - within_s),
            ).fetchone()
        return row is not None

    def share_withheld(self, deployment: str, *, since: float = 0.0) -> tuple[float, int]:
        """Which part of the last results made no statement, failures included; and of how many, unasked ones left out.

        Args:
            deployment: whose.
            since: whole second of the clock in which what runs took its place: what ran before is not asked.
        """
        with self.db.read() as db:
            rows = db.execute(
                "SELECT outcome FROM jobs WHERE state = 'done' AND finished_at > ? AND deployment = ?"
                " AND (code IS NULL OR code NOT GLOB 'requires.*') ORDER BY finished_at DESC LIMIT ?",
                (since + 1 if since else 0.0, deployment, _LATELY),
            ).fetchall()
        without = sum(1 for (outcome,) in rows if outcome != "completed")
        return (without / len(rows) if rows else 0.0), len(rows)

    def has_failed_with(self, deployment: str, code: str, *, since: float, until: float) -> bool:
        """Whether a result failed with that code between two whole seconds of the clock, neither included."""
        with self.db.read() as db:
            row = db.execute(
                "SELECT 1 FROM jobs WHERE state = 'done' AND outcome = 'failed' AND deployment = ? AND code = ?"
                " AND finished_at > ? AND finished_at < ? LIMIT 1",
                (deployment, code, since + 1 if since else 0.0, until),
            ).fetchone()
        return row is not None

    def usual_ms(self, deployment: str) -> float:
        """What an image has taken on the average since the spool was made; 0 where there was none."""
        own = {item.stage: item for item in self.histograms() if item.deployment == deployment and item.stage in WORK}
        count = sum(own["run"].counts) if "run" in own else 0
        return sum(item.sum_ms for item in own.values()) / count if count else 0.0

    def own_deaths(self, deployment: str) -> int:
        """How often the deployment's process has died by its own doing since the spool was made."""
        role = f"infer:{deployment}"
        return sum(
            item.value
            for item in self.counters()
            if item.name == "restarts" and item.labels.get("role") == role and item.labels.get("cause") in OWN_DEATHS
        )

    def last_fault(self, deployment: str) -> tuple[int, str]:
        """Number of the last misdeed of a plugin on this deployment, and the misdeed in words; 0 for none."""
        with self.db.read() as db:
            row = db.execute(
                "SELECT id, plugin, step, cause FROM faults WHERE deployment = ? ORDER BY id DESC LIMIT 1",
                (deployment,),
            ).fetchone()
        return (int(row[0]), f"{row[3]} at {row[2]} of {row[1]}") if row else (0, "")

    def forgive_since(self, deployment: str, fault: int) -> int:
        """Forget misdeeds after that number, and the quarantines that came of them: they were a model's that is gone.

        How many quarantines that were.
        """
        with self.db.write() as db:
            who = db.execute(
                "SELECT plugin, version, MIN(at) FROM faults WHERE deployment = ? AND id > ? GROUP BY plugin, version",
                (deployment, fault),
            ).fetchall()
            lifted = sum(
                db.execute(
                    "DELETE FROM quarantine WHERE plugin = ? AND version = ? AND deployment = ? AND since >= ?",
                    (plugin, version, deployment, at),
                ).rowcount
                for plugin, version, at in who
            )
            db.execute("DELETE FROM faults WHERE deployment = ? AND id > ?", (deployment, fault))
        return lifted

    def say_moves(self, deployment: str, last: int, sayings: Iterable[Saying]) -> None:
        """Queue an event for each move that none was queued for yet, whoever made it and whatever died meanwhile.

        Args:
            deployment: whose slots.
            last: number of the last move that there is; where it is lower than what was told, the slots were made anew.
            sayings: in the order of their numbers.
        """
        labels = json.dumps({"deployment": deployment}, sort_keys=True)
        asked = "SELECT value FROM counters WHERE name = ? AND labels = ?"
        with self.db.write() as db:
            row = db.execute(asked, (_TOLD, labels)).fetchone()
            told = whole(row[0], 0) if row else 0
            told = told if told <= last else 0
            for saying in sayings:
                if saying.sequence > told:
                    queue_event(self, db, saying.kind, saying.message, **saying.facts)
            db.execute(
                "INSERT INTO counters (name, labels, value) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (_TOLD, labels, last),
            )
        self.bells.ring("publish")


__all__ = ["OWN_DEATHS", "WORK", "Saying", "Updating"]
