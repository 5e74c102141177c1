"""What this edgeai can do of what a manifest may ask for: it refuses to run the rest, and never leaves it out."""

from __future__ import annotations

from typing import Final

import edgeai
from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.uses import ImageFeed, source_of

_HONOURED: Final = ("content", "model", "distance")
"""Stages of a guard that this edgeai asks."""
_DISTANCES: Final = ("mahalanobis",)
"""Methods of ``guard.distance``."""


def not_honoured(manifest: Manifest) -> tuple[str, ...]:
    """What it asks for and this edgeai cannot do, each in a few words; empty where all of it can be done. Pure.

    Evidence and change control are documents: they change no answer, and a cart that does not read them leaves out
    nothing that a result would rest on.
    """
    lacking = []
    if manifest.unit.kind != "frame":
        lacking.append(f"unit {manifest.unit.kind}")
    lacking += [
        f"input {name} from {source_of(feed)}"
        for name, feed in manifest.feeds.items()
        if len(manifest.feeds) > 1 or feed != ImageFeed()
    ]
    stages = manifest.guard.stages if manifest.guard is not None else ()
    unknown = [stage for stage in stages if stage not in _HONOURED]
    distance = manifest.guard.distance if manifest.guard is not None else None
    if distance is not None and distance.method not in _DISTANCES:
        unknown.append(f"distance by {distance.method}")
    if unknown:
        lacking.append(f"guard ({', '.join(unknown)})")
    if manifest.explanations:
        lacking.append("explanations")
    return tuple(lacking)


def hold_to_honoured(manifest: Manifest) -> None:
    """Refuse to run what would run as something else than was signed.

    Raises:
        BundleRejected: ``bundle.not-honoured``.
    """
    if lacking := not_honoured(manifest):
        raise BundleRejected(
            f"{manifest.name} {manifest.version} asks for what this edgeai {edgeai.__version__} cannot do: "
            f"{', '.join(lacking)}",
            code="bundle.not-honoured",
            remedy="update edgeai on this device, or deploy a bundle that does without",
        )
