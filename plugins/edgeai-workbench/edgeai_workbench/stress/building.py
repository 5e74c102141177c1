"""The stress set asked of what a build made, packed for that alone, and of a bundle that is packed already."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgeai.api import ConfigError
from edgeai.bundle.reader import open_bundle
from edgeai_workbench.card import Card
from edgeai_workbench.comparison import Comparison
from edgeai_workbench.contenders import EngineWish, card_of, samples_of
from edgeai_workbench.dataset import read_images
from edgeai_workbench.pack import Made, write_trial
from edgeai_workbench.stress.measuring import Measured, measure, verdicts_of
from edgeai_workbench.stress.results import Stress
from edgeai_workbench.stress.settings import StressUse, own_tables, read_stress
from edgeai_workbench.workshop import Workshop


def hold_tables(card: Card, data: Path) -> None:
    """Nothing, where every table of wrong images is there: said before anything is made.

    Raises:
        DataRejected: as ``read_images``.
    """
    for wrong in card.stress.wrong if card.stress is not None else ():
        read_images(wrong.split, data)


def of_build(shop: Workshop, made: Sequence[Made], data: Path, *, progress: Callable[[str], None]) -> Measured | None:
    """Ask what ships; ``None`` where the card does not ask for it.

    Args:
        shop: the card, with its samples; those of validation are its own.
        made: what ships.
        data: where the card's tables are.
        progress: told how far it is.

    Raises:
        EdgeaiError: as ``measure`` and ``write_trial``.
    """
    if shop.card.stress is None or shop.validation is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgeai-stress-") as place:
        path = write_trial(shop.card, shop.folder, Path(place), made)
        bundle = open_bundle(path, cache_dir=Path(place))
        return measure(bundle, shop.card.stress, shop.validation.samples, data, progress=progress)


def with_verdicts(comparison: Comparison, stress: Stress) -> Comparison:
    """The comparison with the card's bounds on wrong images beside the other gates of what ships."""
    rows = [
        msgspec.structs.replace(row, verdicts=(*row.verdicts, *verdicts_of(stress, row.id))) if row.ship else row
        for row in comparison.rows
    ]
    return msgspec.structs.replace(comparison, rows=tuple(rows))


def of_bundle(
    path: Path,
    data: Path,
    *,
    wanted: Path | None,
    artifacts: Sequence[str],
    wish: EngineWish,
    progress: Callable[[str], None],
) -> Stress:
    """Ask a bundle that is packed already.

    Args:
        path: of the bundle; its own images are those of validation.
        data: where the tables are.
        wanted: a file with ``[stress]``; by default what the bundle's card says, and if that says nothing, of drawings
            and its own images alone.
        artifacts: ids; none for all.
        wish: where to run.
        progress: told how far it is.

    Raises:
        ConfigError: as ``read_stress``; ``config.card-invalid``: it names a table of the bundle's own card.
        EdgeaiError: as ``measure`` and ``samples_of``.
    """
    bundle = open_bundle(path)
    card = card_of(bundle)
    use = read_stress(wanted) if wanted is not None else (card.stress if card is not None else None) or StressUse()
    if card is not None and (mistake := own_tables(use, card.dataset)):
        raise ConfigError(f"{wanted}: {mistake}", code="config.card-invalid", remedy="name tables of other images")
    own, _ = samples_of(path, data)
    return measure(bundle, use, own, data, artifacts=artifacts, wish=wish, progress=progress).stress
