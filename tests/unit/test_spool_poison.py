"""Any one value of any one row may be anything: no role stops at it, and everything else goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import ConfigError, Failure, InstanceIds, ModelRef, Outcome, Result
from edgeai.config import Spool as Limits
from edgeai.spool import Job, Selection, Spool
from edgeai.spool.ledger import read_ledger
from edgeai.testing.examples import instance_ref

POISON: dict[str, Any] = {
    "text": "poison",
    "bytes": b"\xff\xfe",
    "broken-text": None,  # CAST(x'ff' AS TEXT)
    "negative": -(2**62),
    "huge": 1e308,
    "null": None,
}


def columns() -> list[tuple[str, str, bool]]:
    """Every (table, column, may be NULL) of the schema."""
    from edgeai.spool.schema import TABLES

    db = sqlite3.connect(":memory:")
    db.executescript(TABLES)
    names = [
        row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    ]
    return [
        (table, name, not notnull and not key)
        for table in names
        for _, name, _, notnull, _, key in db.execute(f"PRAGMA table_info({table})")
    ]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool", Limits(reserve_bytes=1000), site="lab", device_id="cart")
    opened.enable_sinks(["a", "b"])
    for number in (1, 2, 3, 4, 5):
        arrive(opened, number, "guard" if number < 5 else "held")
    end(opened)
    opened.hold("held", ConfigError("no such device", code="backend.unknown-device"))
    for _ in range(3):
        opened.fault(plugin="acme", version="1", deployment="guard", step="open", cause="x", quarantine_after=3)
    yield opened
    opened.close()


def arrive(spool: Spool, number: int, deployment: str = "guard") -> str:
    received = spool.tmp / str(number)
    received.write_bytes(b"x" * 100)
    instance = replace(instance_ref(), sop_instance_uid=f"2.25.{number}")
    content = f"sha256:{number:064x}"
    return spool.admit(instance, received, content=lambda: content, deployments=[deployment], source="test").kind


def end(spool: Spool, owner: str = "me") -> Job | None:
    job = spool.claim("guard", owner) or spool.condemned("guard", owner)
    if job is None:
        return None
    result = Result(
        result_id=f"result-{job.id}",
        attempt=job.attempt,
        deployment="guard",
        outcome=Outcome.FAILED,
        model=ModelRef(name="m", version="1", digest="sha256:0"),
        instance=InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid=""),
        created_at="",
        edgeai_version="",
        reason=Failure(code=job.code or "pixels.short", message="no"),
        timings_ms={"run": 1.0},
    )
    assert spool.finish(job, result, b"{}")
    return job


def poison(spool: Spool, table: str, column: str, kind: str) -> bool:
    """Put the value into the first row; whether the schema lets it."""
    db = spool.db.connection()
    db.execute("PRAGMA foreign_keys = OFF")
    value = "CAST(x'ff7b' AS TEXT)" if kind == "broken-text" else "?"
    parameters = () if kind == "broken-text" else (POISON[kind],)
    first = f"SELECT {column} FROM {table} LIMIT 1"
    try:
        db.execute(f"UPDATE {table} SET {column} = {value} WHERE {column} IS ({first})", parameters)
    except sqlite3.IntegrityError:
        return False
    finally:
        db.execute("PRAGMA foreign_keys = ON")
    return True


@pytest.mark.parametrize("kind", POISON)
@pytest.mark.parametrize(("table", "column", "nullable"), columns())
def test_no_role_stops_at_a_value(spool: Spool, table: str, column: str, nullable: bool, kind: str) -> None:
    if kind == "null" and not nullable:
        pytest.skip("the schema does not let it be NULL")
    if not poison(spool, table, column, kind):
        pytest.skip("the schema does not let it")
    # a start, as the supervisor makes it
    spool.recover()
    spool.release()
    spool.queue_lengths()
    spool.enable_sinks(["a", "b"])
    # infer: every job ends, whatever is wrong with one of them
    ended = 0
    while end(spool, f"owner-{ended}") is not None:
        ended += 1
        assert ended < 20, "it goes round for ever"
    # ingest: another image is taken, and becomes a job that ends
    spool.check_room()
    assert arrive(spool, 99) == "received"
    assert end(spool) is not None
    # publish: each sink gets the new result, and what it cannot read stops nothing
    for sink in ("a", "b") if table not in ("sinks",) else ():
        for lane in ("result", "event"):
            seen = spool.pending(1000, sink=sink, lane=lane)
            spool.published(sink, [message.sequence for message in seen])
            assert all(isinstance(message.body, bytes) and isinstance(message.key, str) for message in seen)
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
