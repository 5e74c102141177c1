"""Any one value of any one row may be anything: no role stops at it, and everything else goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from edgeai.api import ConfigError, Outcome
from edgeai.spool import Job, Selection, Spool
from edgeai.spool.aside import Choice, Refusal
from edgeai.spool.ledger import read_ledger
from edgeai.spool.schema import TABLES
from edgeai.testing.spools import arrive, result_of

POISON: dict[str, Any] = {
    "text": "poison",
    "bytes": b"\xff\xfe",
    "broken-text": None,  # CAST(x'ff' AS TEXT)
    "negative": -(2**62),
    "huge": 1e308,
    "null": None,
}


def cases() -> list[tuple[str, str, str]]:
    """Every (table, column, kind of value) that the schema lets be."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(TABLES)
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        columns = [
            (table, *row[1:]) for (table,) in db.execute(tables) for row in db.execute(f"PRAGMA table_info({table})")
        ]
    return [
        (table, column, kind)
        for table, column, declared, notnull, _, key in columns
        for kind in (["negative"] if (declared, key) == ("INTEGER", 1) else POISON)  # a rowid is nothing but an integer
        if kind != "null" or not (notnull or key)
    ]


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    opened = open_spool("a", "b")
    for number in (1, 2, 3, 4, 5):
        take_in(opened, number, "guard" if number < 5 else "held")
    end_any(opened)
    end_any(opened)
    first = opened.pending(1, sink="b", lane="result")[0].sequence
    opened.settle("b", [], [Refusal(sequence=first, code="mqtt.too-large", reason="no")])
    opened.hold("held", ConfigError("no such device", code="backend.unknown-device"))
    for _ in range(3):
        opened.fault(plugin="acme", version="1", deployment="guard", step="open", cause="x", quarantine_after=3)
    return opened


def take_in(spool: Spool, number: int, deployment: str = "guard") -> str:
    return arrive(spool, number, str(number), (deployment,))


def end_any(spool: Spool, owner: str = "me") -> Job | None:
    """A job of the deployment ends, one that was given up included; None when there is none."""
    job = spool.claim("guard", owner) or spool.condemned("guard", owner)
    if job is not None:
        result = result_of(job, Outcome.FAILED, job.code or "pixels.short", result_id=f"result-{job.id}")
        assert spool.finish(job, result, b"{}")
    return job


def poison(spool: Spool, table: str, column: str, kind: str) -> None:
    """Put the value into the first row, and into all that have the same there."""
    db = spool.db.connection()
    db.execute("PRAGMA foreign_keys = OFF")
    value = "CAST(x'ff7b' AS TEXT)" if kind == "broken-text" else "?"
    parameters = () if kind == "broken-text" else (POISON[kind],)
    first = f"SELECT {column} FROM {table} LIMIT 1"
    changed = db.execute(f"UPDATE {table} SET {column} = {value} WHERE {column} IS ({first})", parameters).rowcount
    db.execute("PRAGMA foreign_keys = ON")
    assert changed, f"there is no row in {table}"


@pytest.mark.parametrize(("table", "column", "kind"), cases())
def test_no_role_stops_at_a_value(spool: Spool, table: str, column: str, kind: str) -> None:
    poison(spool, table, column, kind)
    # a start, as the supervisor makes it
    spool.recover()
    spool.release()
    spool.queue_lengths()
    spool.enable_sinks(["a", "b"])
    # infer: every job ends, whatever is wrong with one of them
    ended = 0
    while end_any(spool, f"owner-{ended}") is not None:
        ended += 1
        assert ended < 20, "it goes round for ever"
    # ingest: another image is taken, and becomes a job that ends
    spool.check_room()
    assert take_in(spool, 99) == "received"
    assert end_any(spool) is not None
    # publish: each sink gets the new result, and what it cannot read stops nothing
    for sink in ("a", "b") if table not in ("sinks",) else ():
        for lane in ("result", "event"):
            seen = spool.pending(1000, sink=sink, lane=lane)
            spool.published(sink, [message.sequence for message in seen])
            assert all(isinstance(message.body, bytes) and isinstance(message.key, str) for message in seen)
    # the operator: what was set aside is listed, offered again and given up
    [str(aside) for aside in spool.set_aside(Choice())]
    spool.retry(Choice(sink="b"))
    spool.drop(Choice())
    # status, metrics, sweeping
    for read in (spool.holds, spool.quarantined, spool.histograms, spool.counters, spool.backlog):
        json.dumps([str(item) for item in read()])
    read_ledger(spool.db)
    spool.recent(100)
    spool.failed(Selection())
    spool.sweep()
    spool.hold("guard", ConfigError("x", code="config.x"))
    spool.lift("guard")
    spool.fault(plugin="acme", version="1", deployment="guard", step="open", cause="x", quarantine_after=3)
    spool.pardon("acme")
