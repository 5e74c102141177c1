"""Where a repository is read from: a folder (a stick, a mount), or a server (``web``)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

from edgeai_update.errors import AGAIN, UpdateError

PIECE: Final = 1 << 16
_FOLDERS: Final = ("", "public")
"""Below what was named: the served folder itself, or the repository's."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """The bytes of a file, from some place on.

    Attributes:
        offset: where they begin; 0 although more was asked for, where a server gives only whole files.
        length: how many bytes are to come, where that is known.
        pieces: they, as they come.
        close: to be called when no more are wanted.
    """

    offset: int
    length: int | None
    pieces: Iterator[bytes]
    close: Callable[[], None]


class Source(Protocol):
    """A repository, as its files lie below ``public/``."""

    def open(self, path: str, offset: int = 0) -> Reply:
        """A file of it, named as in a URL: a role called ``a/b`` has ``metadata/1.a%2Fb.json``.

        Raises:
            UpdateError: ``update.missing`` where there is none, ``update.unreachable`` and others of ``web``.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Counted:
    """A source, and how many bytes came of it."""

    def __init__(self, source: Source) -> None:
        self.bytes = 0
        self._source = source

    def open(self, path: str, offset: int = 0) -> Reply:
        """A file of it."""
        reply = self._source.open(path, offset)
        return replace(reply, pieces=self._seen(reply.pieces))

    def close(self) -> None:
        """Let go of connections."""
        self._source.close()

    def _seen(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.bytes += len(piece)
            yield piece


class FolderSource:
    """A folder, as a server would serve it; nothing outside it is read, and no device or pipe in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = served(folder)

    def open(self, path: str, offset: int = 0) -> Reply:
        """A file below the folder."""
        where = self._folder / unquote(path)
        if not where.resolve().is_relative_to(self._folder):
            raise missing(path)
        try:
            descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise missing(path) from error
        except OSError as error:
            raise _gone(where, error) from error
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise missing(path)
        begin = min(offset, facts.st_size)
        file = os.fdopen(descriptor, "rb", buffering=0)
        file.seek(begin)

        def pieces() -> Iterator[bytes]:
            try:
                while piece := file.read(PIECE):
                    yield piece
            except OSError as error:  # the stick was drawn out
                raise _gone(where, error) from error

        return Reply(offset=begin, length=facts.st_size - begin, pieces=pieces(), close=file.close)

    def close(self) -> None:
        """Nothing is open between files."""


def served(folder: Path) -> Path:
    """The folder that holds ``metadata/``: what was named, or its ``public``.

    Raises:
        UpdateError: ``update.missing``.
    """
    for name in _FOLDERS:
        if (folder / name / "metadata").is_dir():
            return (folder / name).resolve()
    raise UpdateError(
        f"there is no repository in {folder}: it has no folder metadata",
        code="update.missing",
        remedy="name the folder that holds metadata, targets and blobs (`public` of a repository, or a copy of it)",
    )


def missing(path: str) -> UpdateError:
    """The repository has no such file."""
    return UpdateError(
        f"the repository has no {path}",
        code="update.missing",
        remedy="look whether all of `public` is served or was copied (`edgeai fleet check`)",
    )


def _gone(where: Path, error: OSError) -> UpdateError:
    return UpdateError(f"{where} cannot be read: {error.strerror or error}", code="update.unreachable", remedy=AGAIN)
