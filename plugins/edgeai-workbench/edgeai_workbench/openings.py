"""How often a test was opened: ``openings.json`` beside the card, and in the bundle.

A test confirms once. Whoever looks at it, changes the model and looks again chooses by it, and its figures begin to
flatter; so each look is written down before it is taken, and after three the model has had its chances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edgeai.api import ConfigError, GateFailed
from edgeai_workbench.notes import write_note

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


def open_test(
    folder: Path, *, data: str, model: str, artifacts: Mapping[str, str], others: Sequence[Opening] = ()
) -> Opening:
    """Write the look down that is about to be taken; one at these artifacts, or more, on the same data is no new one.

    Args:
        folder: of the card.
        data: digest of the test's pixels and truth.
        model: digest of the card's model.
        artifacts: id -> digest of what is asked beside the model itself.
        others: looks that stand elsewhere, in a bundle: they count, too.

    Raises:
        ConfigError: as ``read_openings``.
        GateFailed: ``gate.test-opened``: this model has had its looks.
    """
    known = hold_test(folder, data=data, model=model, artifacts=artifacts, others=others)
    if known is not None:
        return known
    earlier = all_openings(folder, others)
    fresh = Opening(
        data=data,
        model=model,
        artifacts=dict(artifacts),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        before=sum(one.data == data for one in earlier),
    )
    write_note(folder / OPENINGS, Openings(openings=(*earlier, fresh)))
    return fresh


def hold_test(
    folder: Path, *, data: str, model: str, artifacts: Mapping[str, str], others: Sequence[Opening] = ()
) -> Opening | None:
    """The look that these artifacts had already; ``None`` where a new one may be taken. Raises as ``open_test``."""
    own = [one for one in all_openings(folder, others) if (one.data, one.model) == (data, model)]
    for one in own:
        if artifacts.items() <= one.artifacts.items():
            return one
    if len(own) >= MOST:
        raise GateFailed(
            f"the test was opened {len(own)} times for this model ({', '.join(one.date[:10] for one in own)}), and its "
            "figures would now flatter what was chosen by them",
            code="gate.test-opened",
            remedy="judge by validation, and confirm a model that is trained anew, or on other test data",
        )
    return None


def all_openings(folder: Path, others: Sequence[Opening]) -> tuple[Opening, ...]:
    """What stands beside the card, and before it what stands only elsewhere."""
    kept = read_openings(folder)
    return (*(one for one in others if one not in kept), *kept)
