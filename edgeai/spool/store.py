"""What every part of the spool stands on: the folder, the limits, the bells and the identity of the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

from edgeai import defaults
from edgeai.logs import Log
from edgeai.spool.bells import Bells
from edgeai.spool.database import Database, translated
from edgeai.spool.planes import remove_tree

log = Log("edgeai.spool")


class Limits(Protocol):
    """``config.Spool``, or anything with the same facts."""

    @property
    def reserve_bytes(self) -> int:
        """Free disk below which nothing more is accepted."""

    @property
    def max_backlog(self) -> int:
        """Unfinished jobs and unpublished messages above which nothing more is accepted."""

    @property
    def keep_files(self) -> Literal["never", "failed", "always"]:
        """Which DICOM files stay after their jobs are done."""

    @property
    def max_failed_bytes(self) -> int:
        """How much the files of failed jobs may take; the oldest go first."""

    @property
    def max_held(self) -> int:
        """Jobs that one deployment which cannot run may hold before instances for it are refused."""

    @property
    def max_held_bytes(self) -> int:
        """How much the files of those jobs may take."""

    @property
    def max_set_aside(self) -> int:
        """Messages of one lane that a sink may have refused for good before the oldest go, or intake refuses."""

    @property
    def keep_rows_days(self) -> int:
        """How long an instance is remembered."""


class DefaultLimits:
    """The limits of a profile that says nothing about them."""

    reserve_bytes: int = defaults.RESERVE_BYTES
    max_backlog: int = defaults.MAX_BACKLOG
    keep_files: Literal["never", "failed", "always"] = defaults.KEEP_FILES
    max_failed_bytes: int = defaults.MAX_FAILED_BYTES
    max_held: int = defaults.MAX_HELD
    max_held_bytes: int = defaults.MAX_HELD_BYTES
    max_set_aside: int = defaults.MAX_SET_ASIDE
    keep_rows_days: int = defaults.KEEP_ROWS_DAYS


class Store:
    """Folders and database of a spool: ``{spool.sqlite, tmp/, instances/, bells/, roles/}``."""

    def __init__(self, folder: Path, limits: Limits | None = None, *, site: str = "", device_id: str = "") -> None:
        self.folder = folder
        self.limits: Limits = limits if limits is not None else DefaultLimits()
        self.site = site
        self.device_id = device_id
        self.tmp = folder / "tmp"
        self.instances = folder / "instances"
        self.roles = folder / "roles"
        self.planes = folder / "planes"
        """What deployments share of images that they all have to do; there only where they can (see ``planes``)."""
        self.lost = folder / "lost"
        """Received files that a damaged database knows nothing of; there only once something was lost."""
        with translated(f"creating {folder}"):
            for each in (self.tmp, self.instances, folder / "bells", self.roles):
                each.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)  # images lie here
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="spool-aside")
        self.bells = Bells(folder / "bells")
        try:
            self.db = Database(folder / "spool.sqlite")
        except BaseException:
            self.bells.close()
            raise

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove received files that no row names any more."""
        for name in names:
            (self.instances / name).unlink(missing_ok=True)
            remove_tree(self.planes / name)

    def remove_files_aside(self, names: Sequence[str]) -> None:
        """The same on a thread of its own: a file system that is busy with arrivals takes its time. ``close`` waits."""
        if names:
            self._aside.submit(self._remove_or_tell, names)

    def _remove_or_tell(self, names: Sequence[str]) -> None:
        try:
            self.remove_files(names)
        except OSError as error:  # recover() removes them at the next start
            log.error("spool.trouble", code="spool.io", message=f"files that no job needs cannot be removed: {error}")

    def close(self) -> None:
        """Close connections and bells. Twice is fine."""
        self._aside.shutdown()
        self.bells.close()
        self.db.close()
