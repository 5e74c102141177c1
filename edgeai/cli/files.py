"""What the user points at, as a list of DICOM files: folders searched, duplicates and other files left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeai.api.errors import InputRejected

_MAGIC_AT = 128
_NOT_IMAGES = frozenset({"DICOMDIR"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files to run, in order, and how many were left out.

    Attributes:
        paths: each once; those that were named, whatever they are, and the DICOM files of the folders.
        others: files of the folders that are not DICOM files (PS3.10 section 7.1), or are a DICOMDIR.
        duplicates: second mentions of a file, by another name or through a link too.
    """

    paths: tuple[Path, ...]
    others: int = 0
    duplicates: int = 0


def collect(given: Sequence[Path]) -> Files:
    """Files as given, folders with all that is below them, by name.

    Raises:
        InputRejected: ``input.no-files``.
    """
    paths: list[Path] = []
    seen: set[object] = set()
    others = duplicates = 0
    for path in given:
        for file, named in _below(path):
            identity = _identity(file)
            if identity in seen:
                duplicates += 1
            elif not named and not _is_image_file(file):
                others += 1
            else:
                seen.add(identity)
                paths.append(file)
    if not paths:
        where = ", ".join(map(str, given))
        passed_over = f"; {others} other files were passed over" if others else ""
        raise InputRejected(
            f"no DICOM file below {where}{passed_over}",
            code="input.no-files",
            remedy="check the paths; of pictures that are no DICOM, edgeai evaluate says how a model does on them",
        )
    return Files(paths=tuple(paths), others=others, duplicates=duplicates)


def _below(path: Path) -> Iterator[tuple[Path, bool]]:
    """(file, whether it was named itself)."""
    if not path.is_dir():
        yield path, True
        return
    for where, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            yield Path(where, name), False


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return path.absolute()
    return status.st_dev, status.st_ino


def _is_image_file(path: Path) -> bool:
    if path.name in _NOT_IMAGES or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + 4)[_MAGIC_AT:] == b"DICM"
    except OSError:
        return True  # let the run say what is wrong with it
