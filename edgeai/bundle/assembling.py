"""A bundle put together from a repository's folder: an offer, and the contents that lie packed below ``blobs/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME
from edgeai.bundle.offers import MAX_OFFER_BYTES, Offer, blob_path, decode_offer, unpacked

_OFFERS: Final = "targets/models/*/*.json"


def offers_in(repository: Path) -> Iterator[Offer]:
    """Every offer that lies in a repository's public folder and can be read; who signed it is not asked here."""
    for path in sorted(repository.glob(_OFFERS)):
        try:
            with path.open("rb") as file:
                yield decode_offer(file.read(MAX_OFFER_BYTES + 1))
        except (OSError, BundleRejected):
            continue


def assemble(repository: Path, offer: Offer, target: Path) -> None:
    """Write all that an offer names to a new folder; ``verify_folder`` is for whoever opens it.

    Raises:
        BundleRejected: ``bundle.missing-file``, and as ``unpacked``.
    """
    for name, declared in offer.manifest.files.items():
        blob, out = repository / blob_path(declared.sha256), target / name
        if not blob.is_file():
            raise BundleRejected(
                f"the repository {repository} has no content of {name!r} ({blob.name[:16]}...)",
                code="bundle.missing-file",
                remedy="copy the whole folder `public` of the repository",
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("xb") as sink:
            sink.writelines(unpacked(blob, offer.packed[declared.sha256], declared, name))
    (target / MANIFEST_NAME).write_bytes(offer.manifest_bytes)
    (target / SIGNATURES_NAME).write_bytes(offer.envelope_bytes)
