"""What ``edgeai fleet status`` says: roles with their keys and ends, what waits for whom, offers and a cart's share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.offers import Offer, decode_offer
from edgeai_fleet.keys import called
from edgeai_fleet.layout import Folder
from edgeai_fleet.offering import Listed, listed
from edgeai_fleet.settings import read_settings
from edgeai_fleet.staging import Staging
from edgeai_fleet.state import ONLINE, read_live, read_staged


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRow:
    """A role: what is published, and what waits. Version 0 is none; times are RFC 3339."""

    role: str
    version: int
    expires: str
    days_left: float | None
    threshold: int
    keys: tuple[str, ...]
    paths: tuple[str, ...]
    staged: int
    missing: int
    signed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRow:
    """An offer, and what a cart of each engine fetches of it where it has nothing yet."""

    name: str
    release: int
    version: str
    digest: str
    role: str
    published: bool
    bytes: int
    shares: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All of it."""

    roles: tuple[RoleRow, ...]
    offers: tuple[OfferRow, ...]

    def told(self) -> dict[str, Any]:
        """For programs."""
        return {"schema": 1, **asdict(self)}


def survey(folder: Folder, now: datetime | None = None) -> Survey:
    """Look at a repository; nothing is changed, and no signature of a client's is asked for.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.settings``, ``fleet.altered``.
    """
    now = now or datetime.now(UTC)
    change = Staging(folder, read_settings(folder), read_live(folder), read_staged(folder), now)
    merged = change.merged
    live = {(each.role, each.path, each.sha256) for each in listed(change.live)}
    return Survey(
        roles=tuple(_role(change, role) for role in merged.roles()),
        offers=tuple(_offer(folder, each, (each.role, each.path, each.sha256) in live) for each in listed(merged)),
    )


def share(manifest: Manifest, format_: str) -> frozenset[str]:
    """Files that a cart with this engine alone fetches: all but those that only artifacts of others have (ADR 0052)."""
    guarding = manifest.guard.model if manifest.guard is not None else None
    own: set[str] = set()
    others: set[str] = set()
    for artifact in (*manifest.artifacts, *(guarding.artifacts if guarding is not None else ())):
        (own if artifact.format == format_ else others).update(_artifact_files(manifest, artifact.path))
    return frozenset(set(manifest.files) - (others - own))


def _artifact_files(manifest: Manifest, path: str) -> set[str]:
    """A file's whole folder where it has one of its own below ``artifacts/``: engines keep weights beside graphs."""
    if path in manifest.files:
        folder = path.rpartition("/")[0]
        alone = [artifact for artifact in manifest.artifacts if artifact.path.startswith(f"{folder}/")]
        return {path} if not folder or len(alone) > 1 else {each for each in manifest.files if _below(each, folder)}
    return {each for each in manifest.files if _below(each, path)}


def _below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _role(change: Staging, role: str) -> RoleRow:
    live, staged = change.live.of(role), change.staged.of(role)
    keys = change.merged.keys(role)
    shown = staged or live
    verified = change.merged.verified(role, shown) if shown is not None else None
    delegated = {each.name: each for each in change.merged.delegated()}
    top = change.merged.root.signed.roles.get(role) if change.merged.root is not None else None
    declared = delegated.get(role) or top
    return RoleRow(
        role=role,
        version=live.signed.version if live is not None else 0,
        expires=live.signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ") if live is not None else "",
        days_left=round((live.signed.expires - change.now).total_seconds() / 86400, 1) if live is not None else None,
        threshold=declared.threshold if declared is not None else 0,
        keys=tuple(called(key) for key in keys.values()),
        paths=tuple(delegated[role].paths or ()) if role in delegated else (),
        staged=staged.signed.version if staged is not None else 0,
        missing=change.missing(role) if staged is not None and role not in ONLINE else 0,
        signed=tuple(called(key) for key in verified.signed.values()) if verified is not None else (),
    )


def _offer(folder: Folder, each: Listed, published: bool) -> OfferRow:
    path = folder.target(each.path, each.sha256) if published else folder.staged_target(each.path)
    try:
        offer = decode_offer(path.read_bytes())
    except (OSError, BundleRejected):
        offer = None  # `check` says what is wrong with it
    return OfferRow(
        name=each.name,
        release=each.release,
        version=each.version,
        digest=each.digest,
        role=each.role,
        published=published,
        bytes=_bytes(offer, frozenset(offer.manifest.files), each.length) if offer else 0,
        shares={
            format_: _bytes(offer, share(offer.manifest, format_), each.length)
            for format_ in sorted({artifact.format for artifact in offer.manifest.artifacts})
        }
        if offer
        else {},
    )


def _bytes(offer: Offer, names: frozenset[str], length: int) -> int:
    """What is fetched for these files: the offer, and each content once, packed."""
    contents = {offer.manifest.files[name].sha256 for name in names}
    return length + sum(offer.packed[each].bytes for each in contents)
