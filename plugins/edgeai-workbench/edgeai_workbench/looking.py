"""``--split test`` of a finished model: a look at the test like a build's, written down beside the card and counted.

Figures of a test that anyone may ask for as often as they like choose models as surely as a build's do. So the command
is told where the card lies, and its looks stand in the same ``openings.json``, against the same bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeai.api import ConfigError
from edgeai.bundle.reader import open_bundle
from edgeai_workbench.card import CARD_NAME, Card, file_digest, read_card
from edgeai_workbench.contenders import Contender, card_of
from edgeai_workbench.convert import ARTIFACTS
from edgeai_workbench.dataset import Sample, digest
from edgeai_workbench.gates import digest_of_folder
from edgeai_workbench.openings import MOST, Opening, all_openings, hold_test, open_test, read_openings
from edgeai_workbench.splits import TEST

_REMEDY = "--card FOLDER names the folder of the card, beside whose model.toml each look at its test is written down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One model about to be asked of a test.

    Attributes:
        folder: of its card.
        data: digest of the test's samples.
        model: digest of the card's model, whose looks are counted.
        artifacts: id -> digest of what is asked; empty for the ``.keras`` file itself.
        earlier: looks that its bundle knows of.
    """

    folder: Path
    data: str
    model: str
    artifacts: dict[str, str]
    earlier: tuple[Opening, ...] = ()

    def hold(self) -> None:
        """Nothing, where it may still be asked; before the minutes of asking.

        Raises:
            ConfigError: ``build.openings``.
            GateFailed: ``gate.test-opened``.
        """
        hold_test(self.folder, data=self.data, model=self.model, artifacts=self.artifacts, others=self.earlier)

    def record(self) -> Opening:
        """Write it down, before any figure is shown. Raises as ``hold``."""
        return open_test(self.folder, data=self.data, model=self.model, artifacts=self.artifacts, others=self.earlier)


def held_looks(
    sides: Sequence[tuple[Path, Contender]], cards: Sequence[Path], samples: Sequence[Sample], *, split: str
) -> list[Look]:
    """A look for each model that may be taken, in any order; that of a ``.keras`` file is written beside the other's.

    Args:
        sides: bundle or ``.keras`` file, and the same when it is open.
        cards: folders that ``--card`` names.
        samples: all of the split.
        split: that they are of; only a test has looks.

    Raises:
        ConfigError: ``evaluate.test-card``: nobody says where the card of one of them lies; or the card itself.
        GateFailed: as ``Look.hold``.
    """
    if split != TEST:
        return []
    data, folders = digest(samples, sides[0][1].judge), {read_card(folder).name: folder for folder in cards}
    looks: list[Look] = []
    for path, contender in sorted(sides, key=lambda side: _is_keras(side[0])):
        if _is_keras(path):
            looks.append(Look(folder=looks[0].folder, data=data, model=file_digest(path), artifacts={}))
        else:
            looks.append(_of_bundle(path, contender.engine.artifact, data, folders))
    for look in looks:
        look.hold()
    return looks


def _of_bundle(path: Path, artifact: str, data: str, folders: dict[str, Path]) -> Look:
    bundle = open_bundle(path)
    card = card_of(bundle)
    assert card is not None, "a bundle without a card has no test"
    return Look(
        folder=_folder(card, folders),
        data=data,
        model=card.model_digest,
        artifacts={artifact: digest_of_folder(bundle.root / ARTIFACTS / artifact)},
        earlier=read_openings(bundle.root),
    )


def told(look: Look, opening: Opening) -> str:
    """``test opened 2026-11-29T...: look 1 of 3 at these data for this model``."""
    every = all_openings(look.folder, look.earlier)
    own = [one for one in every if (one.data, one.model) == (look.data, look.model)]
    return f"test opened {opening.date}: look {own.index(opening) + 1} of {MOST} at these data for this model"


def refuse_card(cards: Sequence[Path], split: str) -> None:
    """Nothing, where ``--card`` is given for a test, or not at all.

    Raises:
        ConfigError: ``evaluate.test-card``.
    """
    if cards and split != TEST:
        raise ConfigError(
            f"--card is for --split {TEST}: no look at {split} is written down",
            code="evaluate.test-card",
            remedy=f"leave it out, or ask for --split {TEST}",
        )


def _folder(card: Card, folders: dict[str, Path]) -> Path:
    if card.name in folders:
        return folders[card.name]
    known = f"; {', '.join(folders)} is another's" if folders else ""
    raise ConfigError(
        f"a look at the test of {card.name} counts, and nobody says where its {CARD_NAME} lies{known}",
        code="evaluate.test-card",
        remedy=_REMEDY,
    )


def _is_keras(path: Path) -> bool:
    return path.suffix == ".keras"
