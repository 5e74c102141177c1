"""``abstention.json``: the quantiles of a card's ``[guard.abstention]``, of which artifacts; packing asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from edgeai.api import ConfigError
from edgeai_workbench.card import Card
from edgeai_workbench.notes import hold_note

ABSTENTION: Final = "abstention.json"


class Fitted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``abstention.json``.

    Attributes:
        risk, by: as the card asks.
        quantile: for values of ``by`` that are not among ``quantiles``; for all without ``by``.
        quantiles: value of ``by`` -> its own.
        samples, units: of validation, that they are of.
        groups: value of ``by`` -> units; empty without ``by``.
        data: digest of the samples' pixels and truth.
        artifacts: id -> digest of its files, for those that ship.
    """

    schema: int = 1
    risk: float
    by: str | None = None
    quantile: float
    quantiles: dict[str, float] = {}
    samples: int
    units: int
    groups: dict[str, int] = {}
    data: str
    artifacts: dict[str, str]


def with_fitted(card: Card, folder: Path, artifacts: Mapping[str, str]) -> Card:
    """The card with the quantiles in its guard; the same where it does not abstain.

    Args:
        card: as it was read.
        folder: of it.
        artifacts: id -> digest of its files, of those that ship.

    Raises:
        ConfigError: ``build.abstention``: nothing was fitted, or for something else.
    """
    use = card.guard.abstention
    if use is None:
        return card
    missing = f"nothing was fitted yet for its [guard.abstention] ({ABSTENTION})"
    fitted = hold_note(folder / ABSTENTION, Fitted, partial(_stale, card), missing=missing)
    if (fitted.risk, fitted.by) != (use.risk, use.by):
        raise _stale(card, f"[guard.abstention] asks for something else than {ABSTENTION} has")
    if any(fitted.artifacts.get(name) != value for name, value in artifacts.items()):
        raise _stale(card, f"{ABSTENTION} is of other artifacts")
    use = msgspec.structs.replace(use, quantile=fitted.quantile, quantiles=fitted.quantiles)
    return card.model_copy(update={"guard": msgspec.structs.replace(card.guard, abstention=use)})


def _stale(card: Card, why: str) -> ConfigError:
    return ConfigError(
        f"{card.name}: {why}",
        code="build.abstention",
        remedy="edgeai build FOLDER --data DIR, which fits it on validation",
    )
