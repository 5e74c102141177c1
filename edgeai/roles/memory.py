"""What a process and all that it started hold in memory, as the kernel shares it out among them.

PSS counts a page that several processes share as a part of one each (proc(5), smaps_rollup), so that a child forked
from a large parent is not counted twice; what was swapped out counts as if it were still there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def group_bytes(group: int, *, more_than: int = 0) -> int:
    """Bytes that the processes of a process group hold together; 0 when that cannot be more than ``more_than``.

    Resident memory, which the kernel knows at once, is never less than PSS, for which it walks all pages.
    """
    members = list(_members(group))
    if sum(_at_most(member) for member in members) <= more_than:
        return 0
    return sum(_proportional(member) for member in members)


def _members(group: int) -> Iterator[Path]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name of the command, in brackets, may hold anything; state, parent and group follow it.
                after = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(after[2]) == group:
                yield folder


def _at_most(process: Path) -> int:
    try:
        return _sum(process / "status", (b"VmRSS:", b"VmSwap:"))
    except OSError:
        return 0


def _proportional(process: Path) -> int:
    try:
        return _sum(process / "smaps_rollup", (b"Pss:", b"SwapPss:"))
    except OSError:
        pass
    try:  # a kernel without smaps_rollup (before 4.14): what is its own for certain
        _, resident, shared, *_ = (process / "statm").read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def _sum(path: Path, names: tuple[bytes, ...]) -> int:
    """Of the lines ``Name:  1234 kB`` with these names, in bytes."""
    return sum(
        int(line.split()[1]) * 1024
        for line in path.read_bytes().splitlines()
        if line.partition(b":")[0] + b":" in names
    )
