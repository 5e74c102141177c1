"""The releases of the demo: the shipped model, a good one after it, and one that only real images show to be bad."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import MANIFEST_NAME, SIGNATURES_NAME, Manifest, TransformStep
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.signing import sign_bundle, signer_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """Signed bundles of one model, and its name."""

    model: str
    first: Path
    good: Path
    bad: Path


def make_releases(shipped: Path, folder: Path, key: str) -> Releases:
    """Make the three of them.

    Args:
        shipped: the bundle that becomes release 1.
        folder: for what is written; made if it is not there.
        key: the private key that signs them.

    Raises:
        BundleRejected: ``shipped`` is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bundle = open_bundle(shipped, cache_dir=folder / "cache")
    content = folder / "content"
    shutil.copytree(bundle.root, content, ignore=shutil.ignore_patterns(MANIFEST_NAME, SIGNATURES_NAME))
    first = msgspec.structs.replace(bundle.manifest, release=1)
    made = {
        "first": first,
        "good": _next(first, 1),
        "bad": _next(first, 2, transforms=_windowed_by_the_header(first.transforms)),
    }
    paths = {}
    for name, manifest in made.items():
        paths[name] = folder / f"{manifest.name}-{manifest.version}.edgeai"
        pack(content, manifest, paths[name])
        sign_bundle(paths[name], signer_of(key, lambda what: ""))
    return Releases(model=first.name, **paths)


def _next(manifest: Manifest, steps: int, **changes: Any) -> Manifest:
    release = manifest.release + steps
    return msgspec.structs.replace(manifest, release=release, version=f"{release}.0.0", **changes)


def _windowed_by_the_header(steps: Sequence[TransformStep]) -> tuple[TransformStep, ...]:
    """A plausible mistake: golden cases are tensors, and none of them shows that many a header has no window."""
    by_header = TransformStep(transform="window", options={"mode": "voi", "output": "unit"})
    return tuple(by_header if step.transform == "window" else step for step in steps)
