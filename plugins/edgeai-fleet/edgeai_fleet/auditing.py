"""What a cart would say of a repository: python-tuf's own client reads it, then every offer and every blob is held."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.bundle.offers import Offer, blob_path, decode_offer, unpacked
from edgeai.rollouts import decode, kind_of
from edgeai_fleet.documents import listed_documents
from edgeai_fleet.holding import not_delegated
from edgeai_fleet.layout import Folder
from edgeai_fleet.offering import Listed, listed
from edgeai_fleet.serving import fetcher_of
from edgeai_fleet.settings import read_settings
from edgeai_fleet.state import TOP_LEVEL, State

_CODES: Final[Mapping[type[Exception], str]] = MappingProxyType(
    {
        tuf.ExpiredMetadataError: "fleet.expired",
        tuf.UnsignedMetadataError: "fleet.signatures-missing",
        tuf.BadVersionNumberError: "fleet.rolled-back",
        tuf.LengthOrHashMismatchError: "fleet.altered",
        tuf.DownloadLengthMismatchError: "fleet.altered",
        tuf.DownloadError: "fleet.unreachable",
        tuf.RepositoryError: "fleet.altered",
        ValueError: "fleet.altered",
    }
)

_REFUSALS: Final[tuple[type[Exception], ...]] = (EdgeaiError, *_CODES)
_TUF: Final[tuple[type[Exception], ...]] = tuple(_CODES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One thing that a cart would refuse, and with which code."""

    what: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When a role's metadata end."""

    role: str
    version: int
    expires: datetime

    def days_left(self, now: datetime) -> float:
        """So many days from now; below zero when they have ended."""
        return (self.expires - now).total_seconds() / 86400


@dataclass(slots=True, kw_only=True)
class Audit:
    """What was seen: ends, soonest first; offers and blobs that are sound; objections."""

    endings: list[Ending] = field(default_factory=list)
    offers: list[Listed] = field(default_factory=list)
    blobs: int = 0
    objections: list[Objection] = field(default_factory=list)


@dataclass(slots=True)
class _Client:
    """A cart that has never seen the repository but for one root."""

    folder: Folder
    updater: Updater
    fetcher: Any
    url: str
    cache: Path
    audit: Audit


def audit(folder: Folder, *, url: str | None = None, root: Path | None = None) -> Audit:
    """Read the repository as a cart would that was given ``root`` (the first one without) and has slept since.

    Args:
        folder: the repository on this machine.
        url: where it is served; the folder itself is read without.
        root: the root metadata that a cart was given.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.settings``, ``fleet.unpublished``.
    """
    trust = read_settings(folder).trust(folder)
    first = root or folder.metadata / "1.root.json"
    try:
        bootstrap = first.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{first} cannot be read: {error.strerror}",
            code="fleet.unpublished",
            remedy="publish the repository first (`edgeai fleet publish`), or name a root that carts have with --root",
        ) from error
    seen = Audit()
    fetcher, base = fetcher_of(folder.public, url)
    with tempfile.TemporaryDirectory(prefix="edgeai-fleet-") as cache:
        try:
            updater = Updater(cache, f"{base}metadata/", cache, f"{base}targets/", fetcher=fetcher, bootstrap=bootstrap)
            client = _Client(folder, updater, fetcher, base, Path(cache), seen)
            updater.refresh()
        except _TUF as error:
            seen.objections.append(_objection("the repository", error))
            seen.endings = _endings(Path(cache), State())
            return seen
        state = _delegated(client)
        seen.endings = _endings(client.cache, state)
        for each in listed(state):
            _audit_offer(client, state, each, trust)
        for path, _ in listed_documents(state):
            _audit_document(client, path)
    return seen


def _delegated(client: _Client) -> State:
    """What the client has verified, delegated roles among it: each is loaded when a path of its own is asked for."""
    state = State(targets={"targets": Metadata.from_file(str(client.cache / "targets.json"))})
    for role in state.delegated():
        for pattern in role.paths or []:
            try:
                client.updater.get_targetinfo(pattern.replace("*", "0.json"))
            except _TUF as error:
                client.audit.objections.append(_objection(role.name, error))
                break
        path = client.cache / f"{role.name}.json"
        if path.exists():
            metadata: Metadata[Targets] = Metadata.from_file(str(path))
            state.targets[role.name] = metadata
    return state


def _audit_offer(client: _Client, state: State, each: Listed, trust: Any) -> None:
    objections = client.audit.objections
    if each.role not in ("targets", state.owner(each.path)):
        error = not_delegated(each.role, each.path)
        objections.append(Objection(what=each.path, code=error.code, message=str(error)))
        return
    try:
        info = client.updater.get_targetinfo(each.path)
        assert info is not None  # its owner lists it
        offer = decode_offer(Path(client.updater.download_target(info)).read_bytes(), trust)
        if (offer.manifest.name, offer.manifest.release) != (each.name, each.release):
            raise ConfigError(
                f"{each.path} offers {offer.manifest.name} release {offer.manifest.release}", code="fleet.not-delegated"
            )
    except _REFUSALS as error:
        objections.append(_objection(each.path, error))
        return
    wrong = list(_wrong_blobs(client, offer, each))
    objections.extend(wrong)
    client.audit.blobs += len(offer.packed)
    if not wrong:
        client.audit.offers.append(each)


def _audit_document(client: _Client, path: str) -> None:
    """A cart that cannot read one takes nothing that it is about."""
    kind = kind_of(path)
    try:
        info = client.updater.get_targetinfo(path)
        assert info is not None  # its owner lists it
        assert kind is not None
        decode(Path(client.updater.download_target(info)).read_bytes(), kind, path)
    except _REFUSALS as error:
        client.audit.objections.append(_objection(path, error))


def _wrong_blobs(client: _Client, offer: Offer, each: Listed) -> Iterator[Objection]:
    for name, declared in offer.manifest.files.items():
        packed, path = offer.packed[declared.sha256], blob_path(declared.sha256)
        fetched = client.cache / "blob"
        try:
            with client.fetcher.download_file(client.url + path, packed.bytes) as source:
                fetched.write_bytes(source.read())
            for _ in unpacked(fetched, packed, declared, name):
                pass
        except _REFUSALS as error:
            yield _objection(f"{path} of {each.path}", error)


def _endings(cache: Path, state: State) -> list[Ending]:
    names = [*TOP_LEVEL, *(role for role in state.targets if role != "targets")]
    endings = []
    for role in names:
        path = cache / f"{role}.json"
        if path.exists():
            metadata: Metadata[Any] = Metadata.from_file(str(path))
            signed = metadata.signed
            endings.append(Ending(role=role, version=signed.version, expires=signed.expires.astimezone(UTC)))
    return sorted(endings, key=lambda each: each.expires)


def _objection(what: str, error: Exception) -> Objection:
    if isinstance(error, EdgeaiError):
        return Objection(what=what, code=error.code, message=str(error))
    code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
    message = str(error) or type(error).__name__
    if isinstance(error, tuf.DownloadHTTPError) and error.status_code in (403, 404):
        code, message = "fleet.missing", f"it is not there ({error})"
    return Objection(what=what, code=code, message=message)
