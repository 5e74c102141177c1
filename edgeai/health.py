"""What runs, what does not, and why: read from the notes that the roles leave in the spool.

One account for ``/health``, the MQTT status and ``edgeai status``, so that they cannot contradict one another.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeai.config import DeviceConfig
from edgeai.spool import Note, Spool, is_held

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
    """One deployment, as the MQTT status has it (``edgeai/schemas/status-1.json``)."""

    name: str
    state: Literal["ready", "starting", "unavailable"]
    model: str | None = None
    digest: str | None = None
    signers: tuple[str, ...] = ()
    """The trusted keys that signed the bundle: the name that this device gives each, and its id."""
    backend: str | None = None
    device: str | None = None
    artifact: str | None = None
    degraded: bool = False
    why: str | None = None
    others: tuple[str, ...] = ()
    """Every other backend, device and artifact, each with why it is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The whole device. ``problems`` has a sentence for whatever is not as configured."""

    roles: tuple[RoleHealth, ...]
    deployments: tuple[DeploymentHealth, ...]
    problems: tuple[str, ...]
    jobs_waiting: int
    messages_waiting: int
    free_bytes: int

    @property
    def is_serving(self) -> bool:
        """Whether images are taken, every deployment can run and results can leave the spool."""
        return all(role.alive for role in self.roles) and all(d.state == "ready" for d in self.deployments)

    @property
    def state(self) -> State:
        """As the MQTT status says it."""
        if not any(role.alive for role in self.roles):
            return "offline"
        return "degraded" if self.problems else "online"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"serving": self.is_serving, "state": self.state, **asdict(self)}


def expected_roles(config: DeviceConfig) -> tuple[str, ...]:
    """The processes that this profile asks for, in the order in which they start."""
    arriving = config.ingest.scp.enabled or config.ingest.folders
    infer = tuple(f"infer:{deployment.name}" for deployment in config.deployments)
    return ("supervise", "publish", *infer, *(("ingest",) if arriving else ()))


def read_health(spool: Spool, config: DeviceConfig) -> Health:
    """The state of this moment.

    Raises:
        SpoolError: the spool cannot be read.
    """
    notes = spool.notes()
    roles = tuple(_role(spool, role, notes.get(role)) for role in expected_roles(config))
    by_name = {role.role: role for role in roles}
    deployments = tuple(
        _deployment(deployment.name, by_name[f"infer:{deployment.name}"], notes.get(f"infer:{deployment.name}"))
        for deployment in config.deployments
    )
    jobs, messages = spool.backlog()
    free = shutil.disk_usage(spool.folder).free
    return Health(
        roles=roles,
        deployments=deployments,
        problems=tuple(_problems(spool, config, roles, deployments, notes, free)),
        jobs_waiting=jobs,
        messages_waiting=messages,
        free_bytes=free,
    )


def _role(spool: Spool, role: str, note: Note | None) -> RoleHealth:
    alive = note is not None and is_held(spool.roles / f"{role}.note")
    if note is None or not alive:
        return RoleHealth(role=role, alive=False, pid=None, state="not running", silent_s=0.0)
    return RoleHealth(role=role, alive=True, pid=note.pid, state=note.state, silent_s=note.age_s())


def _deployment(name: str, role: RoleHealth, note: Note | None) -> DeploymentHealth:
    if not role.alive or note is None:
        return DeploymentHealth(name=name, state="unavailable", why="its process is not running")
    detail = note.detail
    state = note.state if note.state in ("ready", "starting", "unavailable") else "ready"
    return DeploymentHealth(
        name=name,
        state=state,  # type: ignore[arg-type]  # just checked
        **{key: detail.get(key) for key in ("model", "digest", "backend", "device", "artifact", "why")},
        degraded=bool(detail.get("degraded")),
        signers=tuple(detail.get("signers", ())),
        others=tuple(detail.get("others", ())),
    )


def _problems(
    spool: Spool,
    config: DeviceConfig,
    roles: tuple[RoleHealth, ...],
    deployments: tuple[DeploymentHealth, ...],
    notes: dict[str, Note],
    free: int,
) -> list[str]:
    found = [f"{role.role} is not running" for role in roles if not role.alive]
    found += [
        f"{role.role} has said nothing for over {config.supervise.silent_s:g} s"
        for role in roles
        if role.alive and role.silent_s > config.supervise.silent_s
    ]
    for deployment in deployments:
        if deployment.state == "unavailable":
            found.append(f"deployment {deployment.name} cannot run: {deployment.why or 'no reason was given'}")
        elif deployment.degraded:
            found.append(f"deployment {deployment.name} runs on its second choice: {deployment.why or ''}".rstrip(": "))
    for held in spool.quarantined():
        found.append(f"{held.plugin} {held.version} is quarantined on {held.deployment}: {held.cause} at {held.step}")
    publish = notes.get("publish")
    for sink, trouble in dict(publish.detail.get("trouble", {}) if publish else {}).items():
        found.append(f"sink {sink}: {trouble}")
    if free < config.spool.reserve_bytes:
        found.append(
            f"less than spool.reserve_bytes ({config.spool.reserve_bytes}) is free on disk: images are refused"
        )
    return found
