"""Which names a file of a bundle may have: plain, relative, and the same on every file system."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from edgeai.api.errors import BundleRejected

MAX_PATH_CHARS: Final = 200
MAX_DEPTH: Final = 8
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)


def check_path(path: str) -> None:
    """Refuse whatever could leave the folder, hide in it, or read differently elsewhere.

    A path is segments of ASCII letters, digits and ``_ . + -`` that begin with a letter, digit or ``_``,
    joined by ``/``: so no absolute path, no ``..``, no drive, no backslash, no hidden file.

    Raises:
        BundleRejected: ``bundle.unsafe-path``.
    """
    segments = path.split("/")
    plain = all(_SEGMENT.fullmatch(segment) for segment in segments)
    if not plain or len(path) > MAX_PATH_CHARS or len(segments) > MAX_DEPTH:
        raise BundleRejected(
            f"the path {path[:MAX_PATH_CHARS]!r} is not allowed in a bundle",
            code="bundle.unsafe-path",
            remedy="use letters, digits and _ . + -, folders joined by /, nothing that begins with a dot",
        )


def check_paths(paths: Iterable[str], *, reserved: Sequence[str] = ()) -> None:
    """Hold all paths of a bundle to ``check_path``, and to one another.

    Raises:
        BundleRejected: ``bundle.unsafe-path``; ``bundle.duplicate-path`` for one name twice, two names
            that differ only in case, or a file where another path needs a folder.
    """
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for path in paths:
        check_path(path)
        folded = path.lower()
        if folded in reserved:
            raise BundleRejected(f"the name {path!r} is reserved in a bundle", code="bundle.unsafe-path")
        if folded in seen:
            raise BundleRejected(f"{seen[folded]!r} and {path!r} collide", code="bundle.duplicate-path")
        seen[folded] = path
        segments = folded.split("/")
        folders.update("/".join(segments[:depth]) for depth in range(1, len(segments)))
    for folder in folders:
        if folder in seen:
            raise BundleRejected(
                f"{seen[folder]!r} is a file and a folder at once (or differs from one only in case)",
                code="bundle.duplicate-path",
            )
