"""Problems of arrival: would an image that is sent now be taken, and is there somewhere to put it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgeai.health.account import age_s
from edgeai.health.catalogue import Problem, problem
from edgeai.health.facts import Facts

NO_INODES: Final = 8
"""An arrival takes two, and the database's own files must find theirs."""
FEW_INODES: Final = 1024
HANGS_S: Final = 20.0
"""A trial of a few kilobytes that takes longer has met a disk that does not answer."""
CROWD: Final = 10
"""So many connections without an association in half a minute are more than a mistyped port."""


def spool_problems(facts: Facts) -> Iterator[Problem]:
    """The store itself."""
    damage = facts.watched("spool").get("damage")
    error = facts.books.error
    if error is not None:
        kind = "spool.damaged" if error.code == "spool.corrupt" else "spool.unreadable"
        yield problem(kind, f"the spool cannot be read: {error}", cause=error.code, remedy=error.remedy or "")
    elif damage:
        yield problem("spool.damaged", f"the spool is damaged: {damage}")
    if facts.lost_images:
        message = "the database was damaged, and does not know images that were received: they are kept in spool/lost"
        yield problem("spool.images-lost", message, images=facts.lost_images)


def intake_problems(facts: Facts) -> Iterator[Problem]:
    """Why an image would be refused, each reason by itself; and what will soon be one."""
    yield from _no_room(facts)
    yield from _bounds(facts)
    trial = facts.watched("write")
    hangs_s = facts.detail("publish", "watch").get("write_hangs_s", 0.0)
    if trial.get("code"):
        message = f"images are refused: {trial.get('why')}"
        yield problem("intake.refusing", message, cause=trial["code"], since=trial.get("since"))
    elif hangs_s > HANGS_S:
        yield problem("intake.refusing", "images are not taken: the disk does not answer", cause="spool.io")
    yield from _evidence(facts)
    yield from _connections(facts)


def _no_room(facts: Facts) -> Iterator[Problem]:
    reserve, disk = facts.config.spool.reserve_bytes, facts.disk
    free = disk.free_bytes
    if free + facts.books.ledger.kept_bytes < reserve:
        message = f"images are refused: less than spool.reserve_bytes ({reserve}) is free on disk"
        yield problem("intake.refusing", message, cause="spool.disk-reserve", free_bytes=free)
    elif free < 2 * reserve:
        yield problem("disk.low", f"less than twice spool.reserve_bytes ({reserve}) is free on disk", free_bytes=free)
    if disk.free_inodes is not None and disk.free_inodes < NO_INODES:
        message = "images are refused: the file system has no inodes left"
        remedy = "remove files, or make the file system with more inodes"
        yield problem("intake.refusing", message, cause="spool.full", remedy=remedy, free_inodes=disk.free_inodes)
    elif disk.free_inodes is not None and disk.free_inodes < FEW_INODES:
        yield problem("disk.low", f"fewer than {FEW_INODES} inodes are free", free_inodes=disk.free_inodes)


def _bounds(facts: Facts) -> Iterator[Problem]:
    spool, ledger = facts.config.spool, facts.books.ledger
    if ledger.jobs_waiting + ledger.messages_waiting >= spool.max_backlog:
        message = (
            f"images are refused: as many jobs and messages wait as spool.max_backlog allows ({spool.max_backlog})"
        )
        yield problem(
            "intake.refusing",
            message,
            cause="spool.backlog",
            jobs=ledger.jobs_waiting,
            messages=ledger.messages_waiting,
        )
    for entry in ledger.messages:
        if entry.lane == "result" and entry.aside >= spool.max_set_aside:
            message = f"images are refused: {entry.sink} has refused as many results as may be set aside"
            remedy = "`edgeai messages list` says why; then retry or drop them"
            yield problem(
                "intake.refusing",
                message,
                cause="spool.set-aside",
                remedy=remedy,
                about=entry.sink,
                messages=entry.aside,
            )
    for hold in facts.books.holds:
        held_bytes = ledger.held_bytes.get(hold.deployment, 0)
        if hold.jobs >= spool.max_held or held_bytes >= spool.max_held_bytes:
            message = f"images for {hold.deployment} are refused: it holds as many jobs as it may"
            remedy = hold.remedy or "give the device what it lacks, or raise spool.max_held and spool.max_held_bytes"
            yield problem(
                "intake.refusing",
                message,
                about=hold.deployment,
                cause="spool.held",
                remedy=remedy,
                jobs=hold.jobs,
                bytes=held_bytes,
                oldest_s=age_s(hold.oldest, facts.now) or 0.0,
            )


def _evidence(facts: Facts) -> Iterator[Problem]:
    """What senders were told, whatever the reason was: nothing above may have thought of it."""
    refusing = facts.watched("traffic").get("refusing") or {}
    if refusing.get("code"):
        message = f"images are refused with {refusing['code']}"
        yield problem(
            "intake.refusing",
            message,
            cause=refusing["code"],
            since=refusing.get("since"),
            images=refusing.get("count", 0),
        )


def _connections(facts: Facts) -> Iterator[Problem]:
    if not facts.config.ingest.scp.enabled:
        return
    traffic = facts.watched("traffic")
    if traffic.get("full"):
        bound = facts.config.ingest.scp.max_associations
        message = (
            f"senders are turned away: all associations that may be (ingest.scp.max_associations = {bound}) are open"
        )
        yield problem("connections.full", message, turned_away=traffic["full"])
    if traffic.get("crowd", 0) >= CROWD:
        message = "connections come that do not ask for an association, or ask for too many"
        yield problem("connections.crowded", message, connections=traffic["crowd"])


__all__ = ["intake_problems", "spool_problems"]
