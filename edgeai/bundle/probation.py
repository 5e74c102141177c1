"""What a bundle says itself of the probation that it must pass: ``probation.json``, signed with all the rest.

A card names it among its ``attachments``. Each bound is as in ``[updates]`` of a profile; what it leaves out is the
profile's to say::

    {"schema": 1, "failures": 0, "slowdown": 2.0, "withheld": 0.2}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.parts import Count, Record
from edgeai.bundle.strict_json import read_object

if TYPE_CHECKING:
    from edgeai.bundle.reader import Bundle

PROBATION_NAME: Final = "probation.json"
_SCHEMA: Final = 1
_MAX_BYTES: Final = 64 << 10


class Bounds(Record, frozen=True, kw_only=True):
    """``failures``: results and deaths; ``slowdown``: how many times as long as before an image may take;
    ``withheld``: how much larger than before the part without a statement may be.
    """

    schema: int = _SCHEMA
    failures: Count | None = None
    slowdown: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] | None = None
    withheld: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] | None = None


def bounds_of(bundle: Bundle) -> Bounds:
    """Those of a bundle that was verified; empty where it has none.

    Raises:
        BundleRejected: ``bundle.invalid-probation``.
    """
    if PROBATION_NAME not in bundle.manifest.files:
        return Bounds()
    try:
        with (bundle.root / PROBATION_NAME).open("rb") as file:
            data = file.read(_MAX_BYTES)
        if read_object(data).get("schema") != _SCHEMA:
            raise ValueError(f"this edgeai reads schema {_SCHEMA}")
        return msgspec.json.decode(data, type=Bounds, strict=True)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BundleRejected(
            f"{PROBATION_NAME} of {bundle.manifest.name} {bundle.manifest.version} cannot be read: {error}",
            code="bundle.invalid-probation",
            remedy="mend the file that the card attaches, and pack the bundle again",
        ) from error
