"""``data_dir``, disk, and the spool: its schema and its soundness, which looking does not change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeai.api.errors import SpoolError
from edgeai.config import DeviceConfig
from edgeai.doctor.checks import Check
from edgeai.health.integrity import check_spool
from edgeai.spool import Quarantine, Spool, check_access, is_legacy
from edgeai.spool.soundness import quick_check

_OWN = ("spool", "spool/instances", "spool/roles", "spool/tmp", "bundles")


def checks(config: DeviceConfig) -> Iterator[Check]:
    """Where everything is kept."""
    folder = config.device.data_dir
    if closed := _closed(folder):
        remedy = f"create {folder} and give it to the service's user: chown -R edgeai: {folder}"
        yield Check(what="data_dir", verdict="fail", found=closed[0], remedy=closed[1] or remedy)
        return
    existing = _existing(folder)
    yield Check(what="data_dir", verdict="ok", found=str(folder))
    yield _disk(existing, config.spool.reserve_bytes)
    yield _spool(folder / "spool" / "spool.sqlite")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))


def _closed(folder: Path) -> tuple[str, str] | None:
    """Why this user could not keep anything there, and what to do where more is known; ``None`` when it can."""
    existing = _existing(folder)
    if not existing.is_dir():
        return f"{existing} is a file", ""
    try:
        check_access(folder)
    except SpoolError as error:
        return str(error), error.remedy or ""
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} cannot be written", ""
    for name in _OWN:
        if os.access(folder / name, os.F_OK) and not os.access(folder / name, os.R_OK | os.W_OK | os.X_OK):
            return f"{folder / name} is closed to this user", ""
    return None


def _disk(existing: Path, reserve: int) -> Check:
    free = shutil.disk_usage(existing).free
    room = f"{free / 1e9:.1f} GB free, {reserve / 1e9:.1f} GB kept in reserve"
    if free < reserve:
        remedy = "free space or lower spool.reserve_bytes: until then every C-STORE is answered 0xA700"
        return Check(what="disk", verdict="fail", found=room, remedy=remedy)
    if free < 2 * reserve:
        return Check(what="disk", verdict="warn", found=room, remedy="free space before the reserve is reached")
    return Check(what="disk", verdict="ok", found=room)


def _spool(database: Path) -> Check:
    if not database.exists():
        return Check(what="spool", verdict="ok", found="none yet: the first start makes it")
    if not os.access(database, os.R_OK | os.W_OK):
        remedy = f"give it to the service's user: chown edgeai: {database}"
        return Check(what="spool", verdict="fail", found=f"{database} is closed to this user", remedy=remedy)
    if is_legacy(database):
        why, state = quick_check(database), "sound; edgeai 0.1 wrote it, and the next start brings it forward"
    else:
        why, state = check_spool(database).why, "sound, of this version"
    if not why:
        return Check(what="spool", verdict="ok", found=state)
    remedy = "stop the service, keep a copy of the spool folder, and start with an empty one"
    if "has schema" in why:
        remedy = "use the edgeai version that wrote it, or have it take the spool back: edgeai spool downgrade"
    return Check(what="spool", verdict="fail", found=f"{database}: {why}", remedy=remedy)


def quarantined(config: DeviceConfig, deployment: str) -> list[Quarantine]:
    """Which plugins ``infer`` would skip; none where the spool is not there, or not of this version."""
    database = config.device.data_dir / "spool" / "spool.sqlite"
    if _closed(config.device.data_dir) or not database.exists() or is_legacy(database) or check_spool(database).why:
        return []
    spool = Spool.of(config)
    try:
        return spool.quarantined(deployment)
    finally:
        spool.close()
