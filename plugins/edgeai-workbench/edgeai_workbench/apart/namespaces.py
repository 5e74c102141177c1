"""The kernel's namespaces, for a build host without bubblewrap: ``python namespaces.py PATHS MODULE ...``.

Run as a file, with the standard library alone: a user namespace is for a process of one thread, and numpy starts more.

A user, mount, network, process, IPC and host name namespace (unshare(2)), in which the whole tree is read-only
(mount_setattr(2), Linux 5.12), the hidden folders are empty but for what must be seen, and no capability is left. What
is written goes to a file system in memory below ``/tmp``, which ends with the process. Then the module that is named
runs as if it had been started itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR: Final = 442  # the same on every machine
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = -100, 0x8000, 1
_PDEATHSIG, _NO_NEW_PRIVS, _CAPBSET_DROP = 1, 38, 24
_CAPABILITY_VERSION: Final = 0x20080522
_CAPABILITIES: Final = 64

_libc = ctypes.CDLL(None, use_errno=True)


def enter(hidden: Sequence[str], readable: Sequence[str]) -> None:
    """Go into namespaces of our own, and come back in a child of a child that is confined.

    Raises:
        OSError: the kernel refuses; what was done until then cannot be undone.
    """
    uid, gid = os.getuid(), os.getgid()
    _do("unshare", _libc.unshare(_NEWUSER | _NEWNS | _NEWNET | _NEWPID | _NEWIPC | _NEWUTS))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    _mount("none", "/", None, _REC | _PRIVATE)
    _fork()  # who unshares processes stays outside of them
    _hide(hidden, readable)
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _set_attributes("/", _AT_RECURSIVE, put=_ATTR_RDONLY)
    for path in ("/tmp", "/dev/shm"):  # noqa: S108  in memory, the child's own
        if path in hidden:
            _set_attributes(path, 0, taken=_ATTR_RDONLY)
    _fork()  # the first process of a namespace ignores signals that end any other
    _drop_capabilities()


def _hide(hidden: Sequence[str], readable: Sequence[str]) -> None:
    """Empty file systems over these folders, and in them what must be seen."""
    seen = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in readable}
    for path in hidden:
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV)
    for path, handle in sorted(seen.items()):
        place = Path(path)
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112  a descriptor
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        _mount(f"/proc/self/fd/{handle}", path, None, _BIND | _REC)
        os.close(handle)


def _drop_capabilities() -> None:
    """None is left, and none comes back with a program that is started."""
    _do("prctl", _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    for number in range(_CAPABILITIES):
        _libc.prctl(_CAPBSET_DROP, number, 0, 0, 0)  # those that this kernel does not know are refused
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION, 0), struct.pack("=6I", *([0] * 6))
    _do("capset", _libc.capset(header, none))


def _fork() -> None:
    """Go on as a child; the parent does nothing but end as it does, and the child ends with the parent."""
    child = os.fork()
    if child:
        _end_as(child)
    _do("prctl", _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _end_as(child: int) -> NoReturn:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # else nobody would see that the child is gone
    os.dup2(nothing, 1)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    _do(f"mount {target}", _libc.mount(*words, ctypes.c_ulong(flags), None))


def _set_attributes(path: str, flags: int, *, put: int = 0, taken: int = 0) -> None:
    attributes = struct.pack("=4Q", put, taken, 0, 0)
    place = path.encode()
    done = _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, place, flags, attributes, ctypes.c_size_t(len(attributes)))
    _do(f"mount_setattr {path}", done)


def _do(what: str, status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def main(paths: str, module: str, *arguments: str) -> None:
    """Confine this process, then run the module."""
    told = json.loads(paths)
    try:
        enter(told["hidden"], told["readable"])
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        sys.exit(1)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
