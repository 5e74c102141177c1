"""What this edgeai can do of what a manifest may ask for: it refuses to run the rest, and never leaves it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final, get_args

import edgeai
from edgeai.api.errors import BundleRejected
from edgeai.api.instances import InstanceRef
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.uses import Attribute, GuardUse, ImageFeed, source_of

SPLIT_CONFORMAL: Final = "split-conformal"
"""The method of an abstention that is held here (``edgeai.model.abstaining``)."""
ABSTENTION_GROUPS: Final = tuple(
    name for name in get_args(Attribute) if name in {field.name for field in fields(InstanceRef)}
)
"""Attributes by whose values its quantile may differ: those that are known of every instance."""
_HONOURED: Final = ("content", "model", "distance", "abstention")
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
    if unknown := list(_of_guard(manifest.guard)):
        lacking.append(f"guard ({', '.join(unknown)})")
    if manifest.explanations:
        lacking.append("explanations")
    return tuple(lacking)


def _of_guard(guard: GuardUse | None) -> Iterator[str]:
    if guard is None:
        return
    yield from (stage for stage in guard.stages if stage not in _HONOURED)
    if guard.distance is not None and guard.distance.method not in _DISTANCES:
        yield f"distance by {guard.distance.method}"
    use = guard.abstention
    if use is not None and use.method != SPLIT_CONFORMAL:
        yield f"abstention by {use.method}"
    if use is not None and use.by is not None and use.by not in ABSTENTION_GROUPS:
        yield f"abstention by the values of {use.by}"


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
