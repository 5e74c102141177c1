"""What a bundle says itself of the probation that it must pass: ``probation.json``, signed with all the rest.

A card names it among its ``attachments``. Each bound is as in ``[updates]`` of a profile; what it leaves out is the
profile's to say::

    {"schema": 1, "failures": 0, "slowdown": 2.0, "withheld": 0.2, "shift": true}
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.parts import Count, Record
from edgeai.bundle.reader import read_member
from edgeai.bundle.strict_json import read_object

if TYPE_CHECKING:
    from edgeai.bundle.manifest import Manifest

PROBATION_NAME: Final = "probation.json"
NAMES: Final = ("failures", "slowdown", "withheld", "shift")
_SCHEMA: Final = 1
MAX_PROBATION_BYTES: Final = 64 << 10
_MOST_FAILURES: Final = 100_000
"""As many results as a probation can have at most."""


class Bounds(Record, frozen=True, kw_only=True):
    """``failures``: results and deaths; ``slowdown``: how many times as long as before an image may take;
    ``withheld``: how much larger than before the part without a statement may be; ``shift``: whether it goes back where
    a label is stated more or less often than before.
    """

    schema: int = _SCHEMA
    failures: Count | None = None
    slowdown: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] | None = None
    withheld: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None
    shift: bool | None = None

    def told(self) -> dict[str, Any]:
        """Those that it has, by name."""
        return {name: bound for name in NAMES if (bound := getattr(self, name)) is not None}


def bounds_of(root: Path, manifest: Manifest) -> Bounds:
    """Those of a bundle; empty where it has none.

    Args:
        root: its file or folder.
        manifest: of it.

    Raises:
        BundleRejected: ``bundle.invalid-probation``; the file is not what the manifest says.
    """
    data = read_member(root, manifest, PROBATION_NAME, MAX_PROBATION_BYTES)
    return Bounds() if data is None else decode_bounds(data, f"{manifest.name} {manifest.version}")


def decode_bounds(data: bytes, of: str) -> Bounds:
    """Read such a file; nothing is guessed.

    Args:
        data: all of it.
        of: whose it is, for people.

    Raises:
        BundleRejected: ``bundle.invalid-probation``.
    """
    try:
        if read_object(data).get("schema") != _SCHEMA:
            raise ValueError(f"this edgeai reads schema {_SCHEMA}")
        return msgspec.json.decode(data, type=Bounds, strict=True)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise invalid(of, str(error)) from error


def mistakes(bounds: Bounds) -> Iterator[str]:
    """What can be read and asks for nothing, so that its makers meant something else."""
    if not bounds.told():
        yield f"it has none of {', '.join(NAMES)}"
    if bounds.failures is not None and bounds.failures >= _MOST_FAILURES:
        yield f"failures {bounds.failures}: no probation has so many results"
    if bounds.withheld is not None and bounds.withheld >= 1.0:
        yield f"withheld {bounds.withheld:g}: no image more can be without a statement"
    if bounds.shift is False:
        yield "shift false: the stricter of this and the profile's counts, so that it asks nothing"


def invalid(of: str, why: str) -> BundleRejected:
    """The file of a bundle is not what it should be."""
    return BundleRejected(
        f"{PROBATION_NAME} of {of} is not in order: {why}",
        code="bundle.invalid-probation",
        remedy="mend the file that the card attaches, and pack the bundle again",
    )
