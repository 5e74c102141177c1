"""A repository as python-tuf's client sees it, with what was seen of it before kept durably.

The client works on a copy; what it verified is then put in place file by file, each whole and synced, in the order in
which they lead to one another. So a kill or a power cut leaves metadata that were verified, never older than before.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from securesystemslib.exceptions import StorageError
from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, TargetFile
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater

from edgeai.api.errors import ConfigError
from edgeai.bundle.offers import MAX_OFFER_BYTES, Offer, decode_offer
from edgeai.bundle.strict_json import read_object
from edgeai.durable import make_folder, replace_file
from edgeai_update.errors import UpdateError, altered, of_tuf, oversize, told_of_disk

if TYPE_CHECKING:
    from edgeai.bundle.trust import TrustPolicy
    from edgeai_update.sources import Source

_TUF: Final = (tuf.RepositoryError, tuf.DownloadError, DeserializationError, StorageError, ValueError)
_BASE: Final = "repository:///"
_OFFER: Final = re.compile(r"models/([a-z0-9][a-z0-9._-]{0,63})/([1-9][0-9]{0,15})\.json", re.ASCII)
_ORDER: Final = ("timestamp.json", "snapshot.json", "targets.json")
_VERSIONED: Final = re.compile(r"metadata/([0-9]+)\.(.+)\.json", re.ASCII)
_HISTORY: Final = "root_history"
_CLOCK: Final = "clock"
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An offer that a trusted role lists. ``digest``: of the bundle, as that role has it; empty where it has none.
    ``by_rollout``: nobody takes it without a rollout.
    """

    model: str
    release: int
    version: str
    digest: str
    target: TargetFile
    by_rollout: bool = False


class _Fetcher(FetcherInterface):
    """python-tuf's way to a source; remembers what it asked for last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked = "metadata"
        self.data = b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.asked, self.data = url.removeprefix(_BASE), b""
        try:
            reply = self._source.open(self.asked)
        except UpdateError as error:
            if error.code == "update.missing":  # of a root it says that there is no newer one
                raise tuf.DownloadHTTPError(str(error), 404) from error
            raise
        return self._kept(reply)

    def _kept(self, reply: Any) -> Iterator[bytes]:
        try:
            for piece in reply.pieces:
                self.data += piece
                yield piece
        finally:
            reply.close()

    def is_mixed(self) -> bool:
        """Whether the last file bears another version than the one that it was asked for by."""
        asked = _VERSIONED.fullmatch(self.asked)
        try:
            version = read_object(self.data).get("signed", {}).get("version") if asked else None
        except (ValueError, AttributeError, RecursionError):
            return False
        return asked is not None and (asked[2] not in ("root", "snapshot") or version != int(asked[1]))


class Repository:
    """What a source offers now, once ``refreshed`` has let it.

    Args:
        source: where it is read from.
        kept: the folder of what was seen before; the same for all sources of one repository.
        root: metadata of the root that the device was given.
    """

    def __init__(self, source: Source, kept: Path, root: Path) -> None:
        self._source = source
        self._kept = kept
        self._fetcher = _Fetcher(source)
        self._bootstrap = _read_root(root)
        self._updater: Updater | None = None
        self._work = kept

    @contextmanager
    def refreshed(self) -> Iterator[Repository]:
        """Ask for what is newest, and hold it to what is trusted and to what was seen before.

        Raises:
            UpdateError: ``update.expired``, ``update.frozen``, ``update.rolled-back``, ``update.mixed``,
                ``update.oversize``, ``update.untrusted``, ``update.altered``, ``update.clock``, ``update.unwritable``,
                and the codes of ``Source.open``.
        """
        with told_of_disk(self._kept):
            make_folder(self._kept)
            self._hold_to_clock()
            self._work = Path(tempfile.mkdtemp(prefix=".refresh-", dir=self._kept.parent))
        try:
            with told_of_disk(self._kept):
                _copy(self._kept, self._work)
            try:
                with self._told():
                    self._updater = self._new_updater()
                    self._updater.refresh()
            finally:
                self._keep()
            self._note_clock()
            try:
                yield self
            finally:
                self._keep()
        finally:
            self._updater = None
            shutil.rmtree(self._work, ignore_errors=True)

    def offers(self, model: str) -> tuple[Listed, ...]:
        """What is offered of a model by whoever may, the highest release first.

        Raises: as ``refreshed``.
        """
        self.find(f"models/{model}/0.json")  # loads the roles that the name is delegated to
        listed = [_listed(path, target) for path, target in self.every(f"models/{model}/") if _OFFER.fullmatch(path)]
        return tuple(sorted(listed, key=lambda each: each.release, reverse=True))

    def offer(self, listed: Listed, trust: TrustPolicy) -> Offer:
        """The offer itself: as its role signed it, and its bundle as the device demands.

        Raises:
            UpdateError: ``update.altered``, ``update.oversize``, ``update.wrong-model``, and as ``refreshed``.
            BundleRejected: as ``decode_offer``.
        """
        path = listed.target.path
        if listed.target.length > MAX_OFFER_BYTES:
            raise oversize(path, MAX_OFFER_BYTES)
        fetched = self._work / "offer"
        self.fetch(listed.target, fetched)
        offer = decode_offer(fetched.read_bytes(), trust)
        if (offer.manifest.name, offer.manifest.release) != (listed.model, listed.release):
            raise UpdateError(
                f"{path} offers {offer.manifest.name} release {offer.manifest.release}",
                code="update.wrong-model",
                remedy="tell who runs the repository: an offer lies under the name of its own model",
            )
        return offer

    def find(self, path: str) -> TargetFile | None:
        """What the first role says of a target that may say anything of it; None where none lists it.

        Raises: as ``refreshed``.
        """
        assert self._updater is not None
        with self._told():
            return self._updater.get_targetinfo(path)

    def every(self, beginning: str) -> tuple[tuple[str, TargetFile], ...]:
        """Paths that begin so, and their targets, of the roles that were loaded and may say anything of them.

        Raises: as ``refreshed``.
        """
        targets = ((path, self.find(path)) for path in sorted(self._paths(beginning)))
        return tuple((path, target) for path, target in targets if target is not None)

    def document(self, target: TargetFile, most: int) -> bytes:
        """A small target's bytes, as they were signed.

        Raises:
            UpdateError: ``update.altered``, ``update.oversize``, and as ``refreshed``.
        """
        if target.length > most:
            raise oversize(target.path, most)
        fetched = self._work / "document"
        self.fetch(target, fetched)
        return fetched.read_bytes()

    def fetch(self, target: TargetFile, into: Path) -> None:
        """A target's bytes, as they were signed, in a file.

        Raises:
            UpdateError: ``update.altered``, and as ``refreshed``.
        """
        assert self._updater is not None
        with self._told():
            try:
                self._updater.download_target(target, str(into))
            except tuf.LengthOrHashMismatchError as error:
                raise altered(target.path, str(error)) from error

    # --- the client -------------------------------------------------------------------------------

    def _new_updater(self) -> Updater:
        work = str(self._work)
        return Updater(
            work, f"{_BASE}metadata/", work, f"{_BASE}targets/", fetcher=self._fetcher, bootstrap=self._bootstrap
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            with told_of_disk(self._work):
                yield
        except _TUF as error:
            raise of_tuf(error, self._fetcher.asked, is_mixed=self._fetcher.is_mixed()) from error

    def _paths(self, beginning: str) -> set[str]:
        """Paths that some role lists; whether it may is for ``find`` to say."""
        paths: set[str] = set()
        for file in self._work.glob("*.json"):
            if file.name in ("root.json", "timestamp.json", "snapshot.json"):
                continue
            try:
                signed: Any = Metadata.from_file(str(file)).signed
            except _TUF:
                continue  # of a role that is no more: the client has replaced those that are
            paths.update(path for path in getattr(signed, "targets", {}) if path.startswith(beginning))
        return paths

    # --- what is kept -----------------------------------------------------------------------------

    def _keep(self) -> None:
        """What the client has verified by now, to outlive a power cut."""
        with told_of_disk(self._kept):
            roots = sorted((self._work / _HISTORY).glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
            make_folder(self._kept / _HISTORY)
            others = [path for path in self._work.glob("*.json") if path.name not in (*_ORDER, "root.json")]
            files = [*roots, *(self._work / name for name in _ORDER), *sorted(others)]
            for path in files:
                _put(path, self._kept / path.relative_to(self._work))

    def _hold_to_clock(self) -> None:
        """No end can be judged by a clock that stands before the last look."""
        try:
            seen = float((self._kept / _CLOCK).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return
        if time.time() < seen - _DAY:
            raise UpdateError(
                f"this device's clock stands at {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, and at "
                f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(seen))} when it last looked: no end can be judged by it",
                code="update.clock",
                remedy=f"set the clock; if it is right now and was wrong then, remove {self._kept / _CLOCK}",
            )

    def _note_clock(self) -> None:
        """Never later than the end of what was just found to hold."""
        with told_of_disk(self._kept):
            replace_file(self._kept / _CLOCK, f"{time.time():.0f}".encode("ascii"))


def _read_root(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        Metadata.from_bytes(data)
    except (OSError, *_TUF) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no TUF metadata"
        raise ConfigError(
            f"repository.root: {path} cannot be used as the repository's root: {why}",
            code="update.root-unusable",
            remedy="put there what the repository's owner handed out (`public/metadata/1.root.json` of it)",
        ) from error
    return data


def _listed(path: str, target: TargetFile) -> Listed:
    match = _OFFER.fullmatch(path)
    assert match is not None
    custom = target.unrecognized_fields.get("custom")
    more = custom if isinstance(custom, dict) else {}
    return Listed(
        model=match[1],
        release=int(match[2]),
        version=str(more.get("version", "")),
        digest=str(more.get("digest", "")),
        target=target,
        by_rollout=more.get("by_rollout") is True,
    )


def _copy(kept: Path, work: Path) -> None:
    (work / _HISTORY).mkdir()
    for path in (*kept.glob("*.json"), *(kept / _HISTORY).glob("*.root.json")):
        if not path.name.startswith("."):
            shutil.copyfile(path, work / path.relative_to(kept))


def _put(fresh: Path, target: Path) -> None:
    if not fresh.is_file():
        return
    data = fresh.read_bytes()
    if not target.is_file() or target.read_bytes() != data:
        replace_file(target, data)
