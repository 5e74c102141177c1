"""``choice.json``: which options of a card's task were chosen, by which samples; building and packing ask for it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeai.api import ConfigError
from edgeai_workbench.card import PARENT, Card
from edgeai_workbench.choice_keys import FOLDS, Choice
from edgeai_workbench.notes import hold_note
from edgeai_workbench.variants import digest_of_variant

CHOICE: Final = "choice.json"
_AGAIN = "edgeai train FOLDER --data DIR --choose"
_BUILD = "edgeai build FOLDER --data DIR, which makes the variant that ships and chooses by it"


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``choice.json``.

    Attributes:
        on: ``folds`` of train, or ``validation``.
        folds: how many; 0 for validation.
        samples, groups: that chose.
        strata: what is true -> how many of the samples.
        data: digest of their pixels and truth.
        variant: whose options these are: ``parent``, or the one that ships.
        model: digest of its ``.keras`` file.
        asked: ``options`` of the card's ``[choice]``.
        chosen: option of the task -> its value.
    """

    schema: int = 1
    on: str
    folds: int
    samples: int
    groups: int
    strata: dict[str, int]
    data: str
    variant: str = PARENT
    model: str
    asked: dict[str, Any]
    chosen: dict[str, Any]

    def __str__(self) -> str:
        where = f"{self.folds} folds of train" if self.on == FOLDS else self.on
        where += "" if self.variant == PARENT else f" by {self.variant}"
        told = ", ".join(f"{name} {value}" for name, value in self.chosen.items())
        return f"Chosen on {where} ({self.samples} samples of {self.groups} groups): {told}"


def wanted_of(card: Card) -> Choice:
    """What a card asks to be chosen.

    Raises:
        ConfigError: ``build.choice``: nothing.
    """
    if card.choice is None:
        raise ConfigError(
            f"{card.name}: the card has no [choice]",
            code="build.choice",
            remedy="say in [choice] what is chosen, and on what; see docs/reference/card.md",
        )
    return card.choice


def hold_choice(card: Card, folder: Path) -> Chosen | None:
    """What chose the card's options; ``None`` where it asks for no choice.

    Raises:
        ConfigError: ``build.choice``: nothing was chosen, or for another model, or the card says something else.
    """
    if card.choice is None:
        return None
    missing = f"{card.name}: nothing was chosen yet of what [choice] asks for"
    chosen = hold_note(folder / CHOICE, Chosen, partial(stale_choice, card), missing=missing)
    asked = (card.choice.on, card.choice.folds if card.choice.on == FOLDS else 0, card.choice.options)
    if (chosen.on, chosen.folds, chosen.asked) != asked:
        raise stale_choice(card, f"{card.name}: [choice] asks for something else than {CHOICE} has")
    if (chosen.variant, chosen.model) != (card.chooser, digest_of(card, folder)):
        raise stale_choice(card, f"{card.name}: {CHOICE} is of another model, {chosen.model}")
    other = [name for name, value in chosen.chosen.items() if card.task.options.get(name) != value]
    if other:
        raise stale_choice(card, f"{card.name}: [task.options] says other {' and '.join(other)} than was chosen")
    return chosen


def digest_of(card: Card, folder: Path) -> str:
    """Of the ``.keras`` file that chooses; empty where its variant was not made yet."""
    return card.model_digest if card.chooser == PARENT else digest_of_variant(folder, card.chooser)


def stale_choice(card: Card, why: str) -> ConfigError:
    """The error for options that were not chosen as the card asks."""
    return ConfigError(why, code="build.choice", remedy=_AGAIN if card.chooser == PARENT else _BUILD)
