"""What a repository offers, and one bundle more: checked whole, packed by content, staged for whoever signs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuf.api.metadata import TargetFile

from edgeai.api.errors import BundleRejected, ConfigError
from edgeai.bundle.archive import Archive
from edgeai.bundle.manifest import FileDecl
from edgeai.bundle.offers import PackedDecl, encode_offer, offer_path, pack_blob, packed_as, unpacked
from edgeai_fleet.layout import Folder, make_folder, place
from edgeai_fleet.staging import staging
from edgeai_fleet.state import State, altered

_PATH: Final = re.compile(r"models/([a-z0-9][a-z0-9._-]{0,63})/([1-9][0-9]{0,15})\.json", re.ASCII)
CUSTOM: Final = "custom"
BY_ROLLOUT: Final = "by_rollout"
"""Of an offer's ``custom``: no cart takes it without a rollout that is about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One offer, as its role's metadata have it."""

    role: str
    path: str
    name: str
    release: int
    version: str
    digest: str
    length: int
    sha256: str
    by_rollout: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What ``add`` did: bytes of all blobs, and of those that were not there before; not ``new`` if all was."""

    name: str
    version: str
    release: int
    digest: str
    role: str
    packed_bytes: int
    new_bytes: int
    new: bool


def listed(state: State, *, role: str | None = None) -> list[Listed]:
    """The offers of every role, or of one, by model and release. A path that is no offer's is passed over."""
    offers = []
    for name, metadata in state.targets.items():
        if role not in (None, name):
            continue
        for path, target in metadata.signed.targets.items():
            if (match := _PATH.fullmatch(path)) is not None:
                custom = target.unrecognized_fields.get(CUSTOM) or {}
                offers.append(
                    Listed(
                        role=name,
                        path=path,
                        name=match[1],
                        release=int(match[2]),
                        version=str(custom.get("version", "")),
                        digest=str(custom.get("digest", "")),
                        length=target.length,
                        sha256=target.hashes.get("sha256", ""),
                        by_rollout=custom.get(BY_ROLLOUT) is True,
                    )
                )
    return sorted(offers, key=lambda each: (each.name, each.release, each.role))


def add(folder: Folder, bundle: Path, *, by_rollout: bool = False) -> Added:
    """Stage a bundle: its contents as blobs, its offer as a target of the role that its model's name is delegated to.

    Args:
        folder: the repository.
        bundle: a signed ``.edgeai`` file.
        by_rollout: no cart takes it without a rollout that is about it.

    Raises:
        BundleRejected: whatever ``Archive`` and ``TrustPolicy`` refuse; ``bundle.rolled-back`` for a release below
            one that is offered, ``bundle.release-reused`` for another bundle of the same number.
        ConfigError: ``fleet.unnumbered``, ``fleet.altered``, and the codes of ``staging``.
    """
    with staging(folder) as change, Archive(bundle, trust=change.settings.trust(folder)) as archive:
        archive.verify()
        manifest = archive.manifest
        hold_to_offered(archive, listed(change.merged))
        packed, new_bytes = _pack(folder, archive)
        assert archive.envelope_bytes is not None  # an unsigned one was refused
        path = offer_path(manifest.name, manifest.release)
        data = encode_offer(archive.envelope_bytes, packed)
        role = change.merged.owner(path)
        target = TargetFile.from_data(path, data)
        known = {"digest": archive.digest, "version": manifest.version}
        target.unrecognized_fields[CUSTOM] = {**known, BY_ROLLOUT: True} if by_rollout else known
        current = change.merged.targets.get(role)
        new = current is None or current.signed.targets.get(path) != target
        if new:
            place(folder.staged_target(path), data)
            change.edit(role).signed.targets[path] = target
        return Added(
            name=manifest.name,
            version=manifest.version,
            release=manifest.release,
            digest=archive.digest,
            role=role,
            packed_bytes=sum(each.bytes for each in packed.values()),
            new_bytes=new_bytes,
            new=new,
        )


def hold_to_offered(archive: Archive, offers: list[Listed]) -> None:
    """Numbers only rise, and each is one bundle's.

    Raises:
        BundleRejected: ``bundle.rolled-back``, ``bundle.release-reused``.
        ConfigError: ``fleet.unnumbered``.
    """
    name, release = archive.manifest.name, archive.manifest.release
    if release == 0:
        raise ConfigError(
            f"{name} {archive.manifest.version} has no release number: no cart could say whether it is newer",
            code="fleet.unnumbered",
            remedy="set `release` in its card (1, then higher ones), and build and sign it again",
        )
    for offer in offers:
        if offer.name != name:
            continue
        if offer.release > release:
            raise BundleRejected(
                f"{name} release {release} would be a step back: release {offer.release} is offered already",
                code="bundle.rolled-back",
                remedy="raise `release` in its card above that, and build and sign it again",
            )
        if offer.release == release and offer.digest != archive.digest:
            raise BundleRejected(
                f"{name} release {release} is another bundle than the one offered under that number, {offer.digest}",
                code="bundle.release-reused",
                remedy="raise `release` in its card, and build and sign it again",
            )


def _pack(folder: Folder, archive: Archive) -> tuple[dict[str, PackedDecl], int]:
    """How every content of a bundle lies in the repository, and the bytes of those that came with it."""
    packed: dict[str, PackedDecl] = {}
    new_bytes = 0
    for name, declared in archive.manifest.files.items():
        if declared.sha256 in packed:
            continue
        here = folder.blob_here(declared.sha256)
        if here is None:
            here = folder.staged_blob(declared.sha256)
            make_folder(here.parent)
            partial = here.with_name(f".{here.name}.{os.getpid()}.partial")
            try:
                pack_blob(archive.chunks(name, declared.bytes), partial)
                partial.replace(here)
            finally:
                partial.unlink(missing_ok=True)
            new_bytes += here.stat().st_size
        packed[declared.sha256] = _sound(here, declared, name)
    return packed, new_bytes


def _sound(blob: Path, declared: FileDecl, name: str) -> PackedDecl:
    packed = packed_as(blob)
    try:
        for _ in unpacked(blob, packed, declared, name):
            pass
    except BundleRejected as error:
        raise altered(blob, str(error)) from error
    return packed
