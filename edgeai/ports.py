"""A port that cannot be listened on: why, who has it as far as this process may see, and what to do."""

from __future__ import annotations

import errno
import pwd
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCAL_NAMES: Final = ("127.0.0.1", "::1", "localhost")
"""What every machine calls itself: nobody else is reached, and nobody else reaches it, by these."""
_PROC: Final = Path("/proc")
_LISTENS: Final = "0A"
"""State of a listening socket in ``/proc/net/tcp`` (proc_pid_net(5))."""


def own_address(host: str) -> str:
    """Where this machine reaches itself at what it listens on: every address is none to connect to."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound, replaced


def why_not(error: OSError, port: int) -> tuple[str, str]:
    """The cause in a few words, and the remedy.

    Args:
        error: what listening raised.
        port: where.
    """
    if isinstance(error, PermissionError):
        cause = "this user may not open it"
        right = "AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        return cause, f"choose a port above 1023, as 11112; or write {right} into `systemctl edit edgeai`"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        cause = f"this machine has no such address ({error.strerror})"
        return cause, "give an address that this machine has (ip addr), or 0.0.0.0 for all"
    if error.errno != errno.EADDRINUSE:
        return error.strerror or str(error), "choose another port or address"
    holders = " and ".join(dict.fromkeys(_holders(port)))
    cause = f"it is taken by {holders}" if holders else "it is taken"
    return cause, f"stop what listens there (ss -ltnp 'sport = :{port}'), or choose another port or address"


def _holders(port: int) -> Iterator[str]:
    """``orthanc (pid 812)`` of each process that listens there; its user alone where the process cannot be seen."""
    listening = dict(_listening(port))
    for inode, process in _processes(set(listening)):
        listening.pop(inode, None)
        name = "a process"
        with suppress(OSError):
            name = (_PROC / process / "comm").read_text(errors="replace").strip() or name
        yield f"{name} (pid {process})"
    for user in listening.values():
        yield f"a process of the user {user}"


def _listening(port: int) -> Iterator[tuple[str, str]]:
    """(inode, user) of each socket that listens on the port, in this network namespace."""
    for table in ("tcp", "tcp6"):
        lines: list[str] = []
        with suppress(OSError):
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9], _user(int(fields[7]))


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _processes(inodes: set[str]) -> Iterator[tuple[str, str]]:
    """(inode, process id) of those of them that some process is seen to have open."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    for process in sorted(_PROC.glob("[0-9]*"), key=lambda path: int(path.name)) if links else ():
        with suppress(OSError):  # another user's, or gone
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    inode = links.get(str(descriptor.readlink()))
                    if inode is not None:
                        yield inode, process.name


__all__ = ["why_not"]
