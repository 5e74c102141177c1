"""The account itself: what `read_health` gives, and everybody shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeai.health.catalogue import Problem, moment
from edgeai.health.certificates import Certificate
from edgeai.spool.history import Lately
from edgeai.spool.ledger import Ledger

State = Literal["online", "degraded", "offline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHealth:
    """One process: whether it lives, and since when it has said nothing (seconds)."""

    role: str
    alive: bool
    pid: int | None
    state: str
    silent_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentHealth:
    """One deployment, as the MQTT status has it (``edgeai/schemas/status-2.json``).

    Attributes:
        state: ``held``: it cannot run, and its jobs wait; ``unavailable``: it cannot run, and its jobs fail.
        code: why it cannot run, or runs on its second choice, as an error code; None where there is none.
        signers: the trusted keys that signed the bundle: the name that this device gives each, and its id.
        threads: on how many single frames run, as measured here; 0 is the engine's own number. None where the profile
            gives it, or nothing is measured.
        others: every other backend, device and artifact, each with why it is not taken.
        slots: of one that takes updates: what is in each, how probation stands, the last that did not stay.
        update: what its last look at the repository came to, where the update role runs and has looked.
        lately: how many of its last results make no statement: withheld before the model, or ended by its task.
        requires: what others must say of an image before this one is asked, each in words.
    """

    name: str
    state: Literal["ready", "starting", "held", "unavailable"]
    model: str | None = None
    digest: str | None = None
    signers: tuple[str, ...] = ()
    backend: str | None = None
    device: str | None = None
    artifact: str | None = None
    threads: int | None = None
    degraded: bool = False
    code: str | None = None
    why: str | None = None
    others: tuple[str, ...] = ()
    slots: Mapping[str, Any] | None = None
    update: Mapping[str, Any] | None = None
    lately: Lately = field(default_factory=Lately)
    requires: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, here and in the retained status: without what changes with each image."""
        return {name: value for name, value in asdict(self).items() if name != "lately"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkHealth:
    """One sink that the profile enables.

    Attributes:
        up: whether it takes messages; None while nothing was said of it yet.
        code, why: what hinders it.
        since: when that began, seconds since the epoch.
        waiting, aside: messages that it has not got, or refused for good.
        oldest_s: age of the oldest that waits, by lane.
        unverified: the other side cannot say what it refuses: results, events and the status alike.
    """

    name: str
    up: bool | None
    code: str | None = None
    why: str | None = None
    since: float | None = None
    waiting: int = 0
    aside: int = 0
    oldest_s: Mapping[str, float] = field(default_factory=dict)
    unverified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What is left on the volume of ``data_dir``. Inodes are None where the file system does not count them."""

    free_bytes: int = 0
    free_inodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The whole device at one moment.

    Attributes:
        problems: what is not as it should be, a named one each; those that stop something first.
        warnings: what works now and will not for ever, or cannot be relied on.
        read_at: seconds since the epoch.
        selftest: how the last self-test that ran by itself ended; empty where none did.
    """

    roles: tuple[RoleHealth, ...]
    deployments: tuple[DeploymentHealth, ...]
    sinks: tuple[SinkHealth, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    certificates: tuple[Certificate, ...] = ()
    disk: Disk = field(default_factory=Disk)
    connections: int = 0
    rejections: Mapping[str, int] = field(default_factory=dict)
    clock_synchronised: bool | None = None
    selftest: Mapping[str, Any] = field(default_factory=dict)
    read_at: float = 0.0

    @property
    def is_serving(self) -> bool:
        """Whether an image sent now would be analysed."""
        return not any(item.stops in ("serving", "both") for item in self.problems)

    @property
    def is_delivering(self) -> bool:
        """Whether a result would leave."""
        return not any(item.stops in ("delivering", "both") for item in self.problems)

    @property
    def is_well(self) -> bool:
        """Whether an image sent now would give a result that leaves."""
        return self.is_serving and self.is_delivering

    @property
    def state(self) -> State:
        """As the MQTT status says it."""
        if not any(role.alive for role in self.roles):
            return "offline"
        return "degraded" if self.problems else "online"

    @property
    def summary(self) -> str:
        """The account in one line of words."""
        words = "serving, " if self.is_serving else "not serving, "
        words += "delivering" if self.is_delivering else "not delivering"
        if self.state == "offline":
            return f"{words}: nothing runs"
        first = next((item for item in self.problems if item.stops), None) or next(iter(self.problems), None)
        return f"{words}: {first.message}" if first else words

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "serving": self.is_serving,
            "delivering": self.is_delivering,
            "state": self.state,
            "summary": self.summary,
            "problems": [item.as_dict() for item in self.problems],
            "warnings": [item.as_dict() for item in self.warnings],
            "roles": [asdict(role) for role in self.roles],
            "deployments": [deployment.as_dict() for deployment in self.deployments],
            "lately": {deployment.name: asdict(deployment.lately) for deployment in self.deployments},
            "sinks": [{**asdict(sink), "since": moment(sink.since)} for sink in self.sinks],
            "ledger": ledger_dict(self.ledger, self.read_at),
            "certificates": [item.as_dict(self.read_at) for item in self.certificates],
            "jobs_waiting": self.ledger.jobs_waiting,
            "jobs_held": self.ledger.jobs_held,
            "messages_waiting": self.ledger.messages_waiting,
            "messages_set_aside": self.ledger.messages_aside,
            "free_bytes": self.disk.free_bytes,
            "free_inodes": self.disk.free_inodes,
            "kept_files": self.ledger.kept_files,
            "kept_bytes": self.ledger.kept_bytes,
            "connections": self.connections,
            "rejections": dict(self.rejections),
            "clock_synchronised": self.clock_synchronised,
            "selftest": dict(self.selftest) or None,
        }


def ledger_dict(ledger: Ledger, now: float) -> dict[str, Any]:
    """Both sums for JSON, with ages in seconds."""
    return {
        "jobs": [
            {
                "deployment": entry.deployment,
                "acknowledged": entry.acknowledged,
                "waiting": entry.waiting,
                "awaiting": entry.awaiting,
                "held": entry.held,
                "finished": entry.finished,
                "missing": entry.missing,
                "oldest_waiting_s": age_s(entry.oldest_waiting_at, now),
                "oldest_held_s": age_s(entry.oldest_held_at, now),
            }
            for entry in ledger.jobs
        ],
        "messages": [
            {
                "sink": entry.sink,
                "lane": entry.lane,
                "queued": entry.queued,
                "waiting": entry.waiting,
                "set_aside": entry.aside,
                "delivered": entry.delivered,
                "dropped": entry.dropped,
                "missing": entry.missing,
                "oldest_waiting_s": age_s(entry.oldest_waiting_at, now),
                "oldest_set_aside_s": age_s(entry.oldest_aside_at, now),
            }
            for entry in ledger.messages
        ],
    }


def age_s(at: float | None, now: float) -> float | None:
    """Seconds from ``at`` to ``now``, never negative whatever the clock did; None for what is not there."""
    return None if at is None else round(max(0.0, now - at), 1)
