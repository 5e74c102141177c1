"""What the account is made of, gathered once: the roles' notes, the database, the disk, the certificates, the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.config import Deployment, DeviceConfig, looks_for_updates
from edgeai.health.account import DeploymentHealth, Disk, RoleHealth, SinkHealth
from edgeai.spool import FAILED, Hold, Note, Quarantine, Spool, is_held
from edgeai.spool.history import Lately
from edgeai.spool.ledger import Ledger, has_finished_since, read_ledger

STALLED_S: Final = 15.0
"""A job that waits this long while its deployment is ready and idle is not waiting for its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the database holds.

    Attributes:
        idle: deployments on which jobs wait, nothing is under way and nothing finished for ``STALLED_S``.
        lately: of each deployment that has given a result lately, how many were withheld.
        error: why the database could not be read; then the rest is empty.
    """

    ledger: Ledger = field(default_factory=Ledger)
    holds: tuple[Hold, ...] = ()
    quarantined: tuple[Quarantine, ...] = ()
    idle: frozenset[str] = frozenset()
    lately: Mapping[str, Lately] = field(default_factory=dict)
    error: EdgeaiError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything of one moment.

    Attributes:
        now: seconds since the epoch.
        notes: of living roles alone: what a dead one said means nothing.
        failed: what roles that are not running said of why they ended.
        known_roles: every role that has said anything since the service started.
    """

    config: DeviceConfig
    now: float
    notes: Mapping[str, Note]
    known_roles: frozenset[str]
    roles: tuple[RoleHealth, ...]
    deployments: tuple[DeploymentHealth, ...]
    sinks: tuple[SinkHealth, ...]
    books: Books
    disk: Disk
    lost_images: int = 0
    failed: Mapping[str, Note] = field(default_factory=dict)

    def detail(self, role: str, key: str) -> Mapping[str, Any]:
        """A table of a living role's heartbeat; empty where it said none."""
        note = self.notes.get(role)
        value = note.detail.get(key) if note else None
        return value if isinstance(value, Mapping) else {}

    def watched(self, key: str) -> Mapping[str, Any]:
        """What publish looked after (``Watch.detail``); empty while it does not run."""
        value = self.detail("publish", "watch").get(key)
        return value if isinstance(value, Mapping) else {}


def expected_roles(config: DeviceConfig) -> tuple[str, ...]:
    """The processes that this profile asks for, in the order in which they start."""
    arriving = config.ingest.scp.enabled or config.ingest.folders
    infer = tuple(f"infer:{deployment.name}" for deployment in config.deployments)
    update = ("update",) if looks_for_updates(config) else ()
    return ("supervise", "publish", *infer, *(("ingest",) if arriving else ()), *update)


def expected_sinks(config: DeviceConfig) -> tuple[str, ...]:
    """The sinks that this profile enables."""
    mqtt = ("mqtt",) if config.mqtt.enabled else ()
    jsonl = ("jsonl",) if config.jsonl is not None and config.jsonl.enabled else ()
    return (*mqtt, *jsonl, *config.sinks)


def gather(spool: Spool, config: DeviceConfig) -> Facts:
    """Everything that the account needs. Never raises: what cannot be read is part of the account."""
    now = time.time()
    notes = spool.notes()
    roles = tuple(_role(spool, role, notes.get(role)) for role in expected_roles(config))
    living = {role.role: notes[role.role] for role in roles if role.alive}
    books = _books(spool, living, now)
    held = {hold.deployment: hold for hold in books.holds}
    return Facts(
        config=config,
        now=now,
        notes=living,
        known_roles=frozenset(notes),
        roles=roles,
        deployments=tuple(
            replace(
                _deployment(item.name, living.get(f"infer:{item.name}"), held.get(item.name)),
                slots=_slots(config, item),
                lately=books.lately.get(item.name, Lately()),
                requires=tuple(map(str, item.requirements)),
                update=_update(item, living.get("update")),
            )
            for item in config.deployments
        ),
        sinks=tuple(_sink(name, living.get("publish"), books.ledger, now) for name in expected_sinks(config)),
        books=books,
        disk=_disk(spool),
        lost_images=len(list(spool.lost.glob("*.dcm"))),
        failed={
            role.role: notes[role.role]
            for role in roles
            if not role.alive and role.role in notes and notes[role.role].state == FAILED
        },
    )


def _books(spool: Spool, notes: Mapping[str, Note], now: float) -> Books:
    try:
        ledger = read_ledger(spool.db)
        return Books(
            ledger=ledger,
            holds=tuple(spool.holds()),
            quarantined=tuple(spool.quarantined()),
            idle=_idle(spool, ledger, notes, now),
            lately=spool.withheld_lately(),
        )
    except EdgeaiError as error:
        return Books(error=error)


def _role(spool: Spool, role: str, note: Note | None) -> RoleHealth:
    alive = note is not None and is_held(spool.roles / f"{role}.note")
    if note is None or not alive:
        return RoleHealth(role=role, alive=False, pid=None, state="not running", silent_s=0.0)
    return RoleHealth(role=role, alive=True, pid=note.pid, state=note.state, silent_s=note.age_s())


def _slots(config: DeviceConfig, deployment: Deployment) -> dict[str, Any] | None:
    """As they are on the disk, whether anything runs or not; what cannot be read is said by infer, which holds."""
    if not deployment.updates:
        return None
    from edgeai.slots import SlotFolder, bounds_told, summary  # with numpy: of no use to a plain cart

    folder = SlotFolder.of_device(config, deployment)
    with suppress(EdgeaiError):
        slots = folder.read()
        told = {**summary(slots), "needed": config.updates.probation_results, "bounds": None}
        with suppress(EdgeaiError):  # of a bundle that cannot be read its rehearsal says so, or infer
            told["bounds"] = bounds_told(config.updates, folder, slots)
        return told
    return None


def _update(deployment: Deployment, note: Note | None) -> Mapping[str, Any] | None:
    """What the last look came to for a deployment; what it says of none in particular, it says of each."""
    looked = note.detail.get("looked") if note is not None and deployment.updates else None
    if not isinstance(looked, Mapping):
        return None
    told = looked.get(deployment.name) or looked.get("")
    return told if isinstance(told, Mapping) else None


_OF_ITS_NOTE = ("model", "digest", "backend", "device", "artifact", "threads", "code", "why")


def _deployment(name: str, note: Note | None, hold: Hold | None) -> DeploymentHealth:
    if note is None:
        return DeploymentHealth(name=name, state="unavailable", why="its process is not running")
    detail = note.detail
    state = note.state if note.state in ("ready", "starting", "unavailable") else "ready"
    if state == "unavailable" and hold is not None:
        state = "held"
    told: dict[str, Any] = {key: detail.get(key) for key in _OF_ITS_NOTE}
    return DeploymentHealth(
        name=name,
        state=state,  # type: ignore[arg-type]  # just checked
        **told,
        degraded=bool(detail.get("degraded")),
        signers=tuple(detail.get("signers", ())),
        others=tuple(detail.get("others", ())),
    )


def _sink(name: str, publish: Note | None, ledger: Ledger, now: float) -> SinkHealth:
    entries = [entry for entry in ledger.messages if entry.sink == name]
    word = dict((publish.detail.get("sinks") or {}).get(name) or {}) if publish else {}
    return SinkHealth(
        name=name,
        up=word.get("up"),
        code=word.get("code") or None,
        why=word.get("why") or None,
        since=word.get("since") or None,
        unverified=bool(word.get("unverified")),
        waiting=sum(entry.waiting for entry in entries),
        aside=sum(entry.aside for entry in entries),
        oldest_s={
            entry.lane: round(max(0.0, now - entry.oldest_waiting_at), 1)
            for entry in entries
            if entry.oldest_waiting_at is not None
        },
    )


def _idle(spool: Spool, ledger: Ledger, notes: Mapping[str, Note], now: float) -> frozenset[str]:
    return frozenset(
        entry.deployment
        for entry in ledger.jobs
        if entry.claimed == 0
        and entry.oldest_due_at is not None
        and now - entry.oldest_due_at > STALLED_S
        and (note := notes.get(f"infer:{entry.deployment}")) is not None
        and not note.steps
        and not has_finished_since(spool.db, entry.deployment, now - STALLED_S)
    )


def _disk(spool: Spool) -> Disk:
    try:
        facts = os.statvfs(spool.folder)
    except OSError:
        return Disk()  # the trial of writing says why
    inodes = facts.f_favail if facts.f_files > 0 else None
    return Disk(free_bytes=facts.f_bavail * facts.f_frsize, free_inodes=inodes)
