"""Which release of a model may run after another one has given results here: the decision alone, without any file.

The **floor** of a model's name is the highest release that has given a result on this device, with the digest of the
bundle that did. It only rises. Below it nothing runs, and at its height only that very bundle: two bundles with one
number are a mistake, or somebody's trick. Release 0 means *not numbered*: such a bundle raises no floor and runs where
there is none.

An exception names one bundle by its digest, and moves nothing. Today the profile names it; whatever else may stand
below the floor for a reason of its own (the bundle that ran before, while a new one is on trial) is one more digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import Manifest

Verdict = Literal["runs", "exception", "lower", "reused"]
"""``exception``: only because it was named. ``lower``, ``reused`` (another bundle of the same number): refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A bundle, as far as this is about it. ``release`` 0 is none."""

    name: str
    release: int
    digest: str

    @classmethod
    def of(cls, manifest: Manifest, digest: str) -> Numbered:
        """The bundle of this manifest and digest."""
        return cls(name=manifest.name, release=manifest.release, digest=digest)

    def __str__(self) -> str:
        """``tiny release 3``."""
        return f"{self.name} release {self.release}" if self.release else f"{self.name}, which has no release number,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The highest release of a name that gave a result, which bundle that was, and since when (RFC 3339)."""

    release: int
    digest: str
    since: str


def judge(bundle: Numbered, floor: Floor | None, allowed: Collection[str] = ()) -> Verdict:
    """Whether a bundle may run.

    Args:
        bundle: it.
        floor: of its name, if there is one.
        allowed: digests of bundles that may run whatever the floor says.
    """
    if floor is None or bundle.release > floor.release or bundle.digest == floor.digest:
        return "runs"
    if bundle.digest in allowed:
        return "exception"
    return "reused" if bundle.release == floor.release else "lower"


def raised(bundle: Numbered, floor: Floor | None, now: str) -> Floor | None:
    """The floor after this bundle gave a result."""
    lowest = floor.release if floor else 0
    return Floor(release=bundle.release, digest=bundle.digest, since=now) if bundle.release > lowest else floor


def hold_to_floor(bundle: Numbered, floor: Floor | None, allowed: Collection[str] = ()) -> Verdict:
    """``judge``, aloud: ``runs`` or ``exception``.

    Raises:
        BundleRejected: ``bundle.rolled-back``, ``bundle.release-reused``.
    """
    verdict = judge(bundle, floor, allowed)
    if floor is None or verdict in ("runs", "exception"):
        return verdict
    stands = f"release {floor.release} ({floor.digest[:19]}...) has given results here since {floor.since}"
    on_purpose = f'or name it in the profile, under its deployment: allow_release = "{bundle.digest}"'
    if verdict == "reused":
        raise BundleRejected(
            f"{bundle} is another bundle than the one of that number: {stands}",
            code="bundle.release-reused",
            remedy=f"raise `release` in its card and pack it again, {on_purpose}",
        )
    raise BundleRejected(
        f"{bundle} would be a step back: {stands}",
        code="bundle.rolled-back",
        remedy=f"deploy release {floor.release} or a later one, {on_purpose}",
    )
