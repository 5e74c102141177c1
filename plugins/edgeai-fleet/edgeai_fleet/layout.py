"""The folders of a repository, and how a file comes into them: whole, on the disk, and at once.

``public/`` is what a server serves; ``staged/`` is what the next publish brings there; ``trust/`` has the keys that
carts trust for bundles, and ``fleet.toml`` what can be set.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api.errors import ConfigError
from edgeai.bundle.offers import blob_path

SETTINGS: Final = "fleet.toml"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
"""A role's name: it becomes the name of a file."""
MODEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
"""A model's name in a manifest."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A repository on this machine."""

    path: Path

    @property
    def settings(self) -> Path:
        """What can be set."""
        return self.path / SETTINGS

    @property
    def public(self) -> Path:
        """What is served."""
        return self.path / "public"

    @property
    def metadata(self) -> Path:
        """The published metadata."""
        return self.public / "metadata"

    @property
    def staged(self) -> Path:
        """What waits to be published."""
        return self.path / "staged"

    @property
    def trust(self) -> Path:
        """Public keys that carts trust for bundles."""
        return self.path / "trust"

    def staged_metadata(self, role: str) -> Path:
        """A role's metadata that waits."""
        return self.staged / "metadata" / f"{role}.json"

    def target(self, path: str, sha256: str) -> Path:
        """A published target, by the name that clients ask for (consistent snapshot)."""
        at = Path(path)
        return self.public / "targets" / at.parent / f"{sha256}.{at.name}"

    def staged_target(self, path: str) -> Path:
        """A target that waits."""
        return self.staged / "targets" / path

    def blob(self, sha256: str) -> Path:
        """A published content."""
        return self.public / blob_path(sha256)

    def staged_blob(self, sha256: str) -> Path:
        """A content that waits."""
        return self.staged / blob_path(sha256)

    def blob_here(self, sha256: str) -> Path | None:
        """A content, wherever it lies: what waits before what is published."""
        return next((path for path in (self.staged_blob(sha256), self.blob(sha256)) if path.exists()), None)

    def hold_to_exist(self) -> None:
        """Refuse a folder that is no repository.

        Raises:
            ConfigError: ``fleet.absent``.
        """
        if not self.settings.is_file():
            raise ConfigError(
                f"{self.path} is no repository: it has no {SETTINGS}",
                code="fleet.absent",
                remedy="name the folder that `edgeai fleet init` made, or make one with it",
            )

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """One at a time changes a repository; what the disk refuses is one sentence.

        Raises:
            ConfigError: ``fleet.absent``, ``fleet.busy``, ``fleet.unwritable``.
        """
        self.hold_to_exist()
        with told_of_disk(self.path):
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another command is changing {self.path}", code="fleet.busy", remedy="wait until it has ended"
                ) from error
            with told_of_disk(self.path):
                yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def told_of_disk(path: Path) -> Iterator[None]:
    """An ``OSError`` in one sentence.

    Raises:
        ConfigError: ``fleet.unwritable``.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path} cannot be written or read: {error.strerror or error}",
            code="fleet.unwritable",
            remedy="free space or set permissions there, and call it again: what was published is as it was",
        ) from error


def place(path: Path, data: bytes | Path) -> None:
    """Put a file there: a reader sees none, the one before, or all of this one, after a power loss too."""
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as sink:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    shutil.copyfileobj(source, sink, 1 << 20)
            else:
                sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        partial.chmod(0o644)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """A folder and those above it, each on the disk in the one above."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
