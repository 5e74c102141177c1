"""What the supervisor needs of a profile, read by a child that then ends.

The configuration's library takes 25 MB that a process which lives as long as the device should not hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edgeai.api.errors import ConfigError

_SUPERVISE: Final = (
    *("heartbeat_s", "silent_s", "restart_min_s", "restart_max_s"),
    *("quarantine_after", "job_attempts", "trial_after_s"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The part of a ``DeviceConfig`` that supervising takes; fields are named as there.

    Attributes:
        roles: what to run, in the order to start it: ``publish``, ``infer:<deployment>``..., ``ingest``.
    """

    config_path: Path
    data_dir: Path
    site: str
    device_id: str
    roles: tuple[str, ...]
    log_level: str
    log_format: Literal["json", "console"]
    reserve_bytes: int
    max_backlog: int
    keep_files: Literal["never", "failed", "always"]
    max_failed_bytes: int
    max_held: int
    max_held_bytes: int
    max_set_aside: int
    keep_rows_days: int
    heartbeat_s: float
    silent_s: float
    restart_min_s: float
    restart_max_s: float
    quarantine_after: int
    job_attempts: int
    trial_after_s: float
    max_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    """Deployment -> what its role may hold; those without a bound are left out."""
    updates: tuple[str, ...] = ()
    """Deployments that take updates."""


def read_plan(config_path: Path) -> Plan:
    """The plan of a profile.

    Raises:
        ConfigError: as ``load_config``.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _tell(config_path, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    body: dict[str, Any] = json.loads(answer) if answer else {"error": "the configuration's reader died"}
    if "error" in body:
        raise ConfigError(body["error"], code=body.get("code"), remedy=body.get("remedy"))
    return Plan(
        config_path=config_path,
        data_dir=Path(body.pop("data_dir")),
        roles=tuple(body.pop("roles")),
        updates=tuple(body.pop("updates")),
        **body,
    )


def _tell(config_path: Path, writer: int) -> None:
    """In the child: write the plan, or the mistake, and end without running the parent's clean-up."""
    try:
        try:
            told: dict[str, Any] = _summary(config_path)
        except ConfigError as error:
            told = {"error": str(error), "code": error.code, "remedy": error.remedy}
        with os.fdopen(writer, "wb") as stream:
            stream.write(json.dumps(told).encode())
    finally:
        os._exit(0)


def _summary(config_path: Path) -> dict[str, Any]:
    from edgeai.config import load_config, looks_for_updates

    config = load_config(config_path)
    arriving = config.ingest.scp.enabled or config.ingest.folders
    infer = [f"infer:{deployment.name}" for deployment in config.deployments]
    supervise = config.supervise.model_dump(include=set(_SUPERVISE))
    budgets = {deployment.name: deployment.max_memory_bytes for deployment in config.deployments}
    spool = config.spool.model_dump(exclude={"max_instance_bytes", "max_shared_bytes"})
    return {
        "data_dir": str(config.device.data_dir),
        "site": config.device.site,
        "device_id": config.device.id,
        "roles": [
            "publish",
            *infer,
            *(["ingest"] if arriving else []),
            *(["update"] if looks_for_updates(config) else []),
        ],
        "updates": [deployment.name for deployment in config.deployments if deployment.updates],
        "log_level": config.log.level,
        "log_format": config.log.format,
        "max_memory_bytes": {name: budget for name, budget in budgets.items() if budget},
        **spool,
        **supervise,
    }
