"""Whether this user may use a device's spool: asked before anything in it is opened, so that one sentence says why not.

The folder is for the service's user alone. Whoever calls a command as somebody else is told as whom to call it; and a
service whose files somebody else made, who once started it by hand as root, is told whose they are.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from edgeai.api.errors import SpoolError


def check_access(data_dir: Path) -> None:
    """Nothing where the spool is open to this user, or not there, or on a medium that can only be read.

    Raises:
        SpoolError: ``spool.unreadable``, with whose it is and what to do.
    """
    for path in _looked_at(data_dir):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            return  # opening it says so
        except PermissionError as error:
            text = f"{_name(os.geteuid())} may not reach {path}: a folder above it is closed"
            raise SpoolError(
                text, code="spool.unreadable", remedy="call it as the service's user: sudo -u ..."
            ) from error
        wanted = os.R_OK | os.W_OK | (os.X_OK if stat.S_ISDIR(facts.st_mode) else 0)
        if path == data_dir and os.access(data_dir / "spool", os.F_OK):
            wanted = os.X_OK
        if not os.access(path, wanted) and not os.statvfs(path).f_flag & os.ST_RDONLY:
            raise _closed(path, facts, data_dir)


def _looked_at(data_dir: Path) -> Iterator[Path]:
    """From the outside inwards: what is closed hides what lies in it, and is raised before."""
    spool = data_dir / "spool"
    roles = spool / "roles"
    yield from (data_dir, spool, spool / "spool.sqlite", spool / "spool.sqlite-wal", spool / "spool.sqlite-shm")
    yield from (spool / "instances", spool / "tmp", roles)
    yield from sorted(roles.glob("*.note"))


def _closed(path: Path, facts: os.stat_result, data_dir: Path) -> SpoolError:
    owner, user = _name(facts.st_uid), _name(os.geteuid())
    if owner == user:
        text = f"{path} is closed to its own user, {owner} (mode {stat.S_IMODE(facts.st_mode):04o})"
        return SpoolError(text, code="spool.unreadable", remedy=f"chmod -R u+rwX {data_dir}")
    return SpoolError(
        f"{path} belongs to {owner}, and {user} may not use it",
        code="spool.unreadable",
        remedy=f"as {owner}: sudo -u {owner} ...; if {user} is the service's user: chown -R {user}: {data_dir}",
    )


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
