"""Where a bundle lies that is known by its digest: a file, a folder of bundles, a cart's slots, a repository."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import BundleRejected, ConfigError

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig

_DEPTH: Final = 4
"""Folders below a place that are looked into: ``data_dir/slots/<deployment>/a`` is three."""


def bundle_of(digest: str, named: Path | None, places: Sequence[Path], workplace: Path) -> Path | None:
    """The bundle of this digest; ``None`` where it lies nowhere. Its content is not yet held to its manifest.

    Args:
        digest: of its manifest.
        named: the bundle itself, where somebody says that it is this one.
        places: folders to look in.
        workplace: an empty folder; what lies in a repository is put together there.

    Raises:
        ConfigError: ``trace.other-bundle``: what was named is another.
        BundleRejected: what was named cannot be read; or as ``assemble``.
    """
    if named is not None:
        if (other := _digest_at(named)) != digest:
            raise ConfigError(
                f"{named} is {other}, and the result is of {digest}",
                code="trace.other-bundle",
                remedy="name the bundle that gave the result, or a folder with --look",
            )
        return named
    for place in places:
        for path in _candidates(place):
            try:
                if _digest_at(path) == digest:
                    return path
            except BundleRejected:
                continue  # not this one, whatever it is
        for repository in (place, place / "public"):
            if _from_repository(repository, digest, workplace):
                return workplace
    return None


def places_of(config: DeviceConfig) -> list[Path]:
    """Where a cart keeps bundles: what its profile names, its slots, and what it has unpacked."""
    data_dir = config.device.data_dir
    return [*(item.bundle for item in config.deployments), data_dir / "slots", data_dir / "bundles"]


def _candidates(place: Path) -> Iterator[Path]:
    from edgeai.bundle.archive import SUFFIX
    from edgeai.bundle.manifest import MANIFEST_NAME

    if place.is_file():
        yield place
    for where, folders, names in os.walk(place):
        if MANIFEST_NAME in names:
            yield Path(where)
            folders.clear()
        if len(Path(where).relative_to(place).parts) >= _DEPTH or Path(where).name == "blobs":
            folders.clear()
        folders.sort()
        yield from (Path(where, name) for name in sorted(names) if name.endswith(SUFFIX))


def _digest_at(path: Path) -> str:
    from edgeai.bundle.archive import Archive
    from edgeai.bundle.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, digest_of
    from edgeai.bundle.strangers import not_a_bundle

    if path.is_dir():
        try:
            with (path / MANIFEST_NAME).open("rb") as file:
                return digest_of(file.read(MAX_MANIFEST_BYTES + 1))
        except OSError as error:
            why = f"no {MANIFEST_NAME} in it can be read: {error.strerror}"
            raise not_a_bundle(path, why) from error
    with Archive(path) as archive:
        return archive.digest


def _from_repository(repository: Path, digest: str, workplace: Path) -> bool:
    if not (repository / "blobs").is_dir():
        return False
    from edgeai.bundle.assembling import assemble, offers_in

    offer = next((offer for offer in offers_in(repository) if offer.digest == digest), None)
    if offer is None:
        return False
    assemble(repository, offer, workplace)
    return True
