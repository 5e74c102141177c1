"""``python -m edgeai.roles ROLE --config PATH [--deployment NAME [--plugin NAME]]``: become one role, and only that."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeai import logs
from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.logs import Log
from edgeai.roles import PARENT
from edgeai.roles.native import Rest, keep_the_log_apart

ROLES = {
    "ingest": (),
    "infer": ("--deployment",),
    "publish": (),
    "supervise": (),
    "update": (),
    "trial": ("--deployment", "--plugin"),
    "rehearse": ("--deployment", "--digest", "--verdict"),
    "shadow": ("--deployment", "--digest", "--verdict"),
}
"""Role -> what it is given beside the profile."""
NICER = {"infer": 10}
"""Role -> how far it steps back for the others. A sender waits for ingest; what ingest leaves, while the disk writes
and nobody receives, is enough for images to be looked at."""
_PR_SET_PDEATHSIG = 1
_EX_CONFIG = 78
_EX_SOFTWARE = 70


def main(arguments: list[str] | None = None) -> int:
    """Run a role to its end; its exit status (0 when it was asked to stop)."""
    try:
        role, config_path, given = _parse(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return _EX_CONFIG
    name = f"{role}:{given[0]}" if given else role
    runs_foreign_code = role != "supervise"  # engines, decoders, plugins' sinks and their libraries print as they like
    if runs_foreign_code:
        keep_the_log_apart()
    logs.configure(name)
    if not _bound_to_parent():
        return 0
    rest = Rest() if runs_foreign_code else None
    log = Log("edgeai.roles")
    try:
        return _run(role, name, config_path, given)
    except EdgeaiError as error:
        log.error("role.failed", code=error.code, message=str(error), remedy=error.remedy)
        return _EX_CONFIG if isinstance(error, ConfigError) else _EX_SOFTWARE
    except Exception:  # noqa: BLE001 - the last line before the interpreter's own, and it logs as we do
        log.error("role.failed", code="role.unexpected", trace=True)
        return _EX_SOFTWARE
    finally:
        if rest is not None:
            rest.close()


def _run(role: str, name: str, config_path: Path, given: tuple[str, ...]) -> int:
    if role == "supervise":
        # It never loads the configuration's own code into its memory.
        status: int = import_module("edgeai.roles.supervise").main(config_path)
        return status
    gc.disable()  # what is imported stays: to look again and again for what may be let go takes a twelfth of a start
    try:
        from edgeai.config import load_config

        config = load_config(config_path)
        logs.configure(name, level=config.log.level, form=config.log.format)
        module: Any = import_module(f"edgeai.roles.{role}")
    finally:
        gc.freeze()
        gc.enable()
    try:
        os.nice(NICER.get(role, 0))
        return int(module.main(config, *given))
    except EdgeaiError as error:
        _leave_word(config.device.data_dir, name, error)
        raise
    except Exception as error:
        text = f"an error that nobody foresaw, {type(error).__name__}; its log has the place"
        _leave_word(config.device.data_dir, name, EdgeaiError(text, code="role.unexpected"))
        raise


def _leave_word(data_dir: Path, name: str, error: EdgeaiError) -> None:
    """Why this process ends, in its note: whoever finds that it does not run (`edgeai.health`) can say so."""
    from edgeai.spool import FAILED, Station

    with suppress(EdgeaiError, OSError):  # another process has this place, or the disk is at fault
        station = Station(data_dir / "spool" / "roles", name)
        station.beat(FAILED, code=error.code, why=str(error)[:500], remedy=(error.remedy or "")[:500])
        station.close()


def _parse(arguments: list[str]) -> tuple[str, Path, tuple[str, ...]]:
    usage = f"usage: python -m edgeai.roles {{{'|'.join(ROLES)}}} --config PATH [--deployment NAME [--plugin NAME]]"
    role, *rest = arguments or [""]
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    if role not in ROLES or len(rest) % 2 or set(given) != {"--config", *ROLES[role]}:
        raise ConfigError(usage, code="config.usage")
    return role, Path(given["--config"]), tuple(given[name] for name in ROLES[role])


def _bound_to_parent() -> bool:
    """Ask the kernel to kill this process when its supervisor dies; False when that has happened already."""
    expected = os.environ.pop(PARENT, "")
    if not expected:
        return True
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == int(expected)


if __name__ == "__main__":
    sys.exit(main())
