"""How often a test was opened: ``openings.json`` beside the card, and in the bundle.

A test confirms once. Whoever looks at it, changes the model and looks again chooses by it, and its figures begin to
flatter; so each look is written down before it is taken, and after three the model has had its chances.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgeai.api import ConfigError, GateFailed

OPENINGS = "openings.json"
MOST = 3


class Opening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One look at a test.

    Attributes:
        data: digest of the test's pixels and truth.
        model: digest of the card's model, whose chances are counted.
        artifacts: id -> digest of what was judged.
        date: when, in UTC.
        before: how often these data had been looked at, for any model.
    """

    data: str
    model: str
    artifacts: dict[str, str]
    date: str
    before: int


class Openings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``openings.json``: every look at a test, in order."""

    schema: int = 1
    openings: tuple[Opening, ...] = ()


def read_openings(folder: Path) -> tuple[Opening, ...]:
    """What is written beside a card; nothing where no test was opened.

    Raises:
        ConfigError: ``build.openings``: the file is there and cannot be understood.
    """
    path = folder / OPENINGS
    if not path.exists():
        return ()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Openings).openings
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error}",
            code="build.openings",
            remedy="restore it: it says how often the test was opened, and is not made anew",
        ) from error


def open_test(folder: Path, *, data: str, model: str, artifacts: Mapping[str, str]) -> Opening:
    """Write the look down that is about to be taken; the same artifacts on the same data are no new one.

    Raises:
        ConfigError: as ``read_openings``.
        GateFailed: ``gate.test-opened``: this model has had its looks.
    """
    earlier = read_openings(folder)
    for one in earlier:
        if (one.data, one.model, one.artifacts) == (data, model, dict(artifacts)):
            return one
    own = [one for one in earlier if (one.data, one.model) == (data, model)]
    if len(own) >= MOST:
        raise GateFailed(
            f"the test was opened {len(own)} times for this model ({', '.join(one.date[:10] for one in own)}), and its "
            "figures would now flatter what was chosen by them",
            code="gate.test-opened",
            remedy="judge by validation, and confirm a model that is trained anew, or on other test data",
        )
    fresh = Opening(
        data=data,
        model=model,
        artifacts=dict(artifacts),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        before=sum(one.data == data for one in earlier),
    )
    body = msgspec.json.encode(Openings(openings=(*earlier, fresh)), order="sorted")
    (folder / OPENINGS).write_bytes(msgspec.json.format(body, indent=2) + b"\n")
    return fresh
