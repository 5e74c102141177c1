"""``edgeai build``: everything that a card asks for, in order, and a bundle only if every gate holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edgeai.api import ConfigError, ConversionFailed, EdgeaiError, GateFailed
from edgeai_workbench.attached import hold_probation
from edgeai_workbench.bright import add_bright
from edgeai_workbench.card import AS_IS, CARD_NAME, PARENT, Card, check_model, read_card
from edgeai_workbench.choosing import check_wish, choose_by_variant, hold_choice_of
from edgeai_workbench.chosen import Chosen, hold_choice
from edgeai_workbench.comparison import Comparison, compare
from edgeai_workbench.confirming import confirm
from edgeai_workbench.distance_fitting import with_distances
from edgeai_workbench.first_card import leave_out
from edgeai_workbench.gate_names import check_metrics
from edgeai_workbench.gates import Verdict, hold
from edgeai_workbench.pack import Made, Packed, golden_of, make, models_of, write_bundle
from edgeai_workbench.quantile_fitting import fit
from edgeai_workbench.report import PAGE
from edgeai_workbench.robustness import Robustness
from edgeai_workbench.robustness.building import of_build, with_verdicts
from edgeai_workbench.separate import nearly_in
from edgeai_workbench.stress import building as stress
from edgeai_workbench.stress.results import Stress
from edgeai_workbench.telling import Telling, forget
from edgeai_workbench.variants import ModelFile, ModelFiles
from edgeai_workbench.workshop import Workshop, open_workshop

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What came of a build: the comparison of all that was made, and the bundle."""

    comparison: Comparison
    packed: Packed
    report: Path
    left_out: tuple[str, ...] = ()
    """Artifacts of a first try that do not ship, each with why."""
    robustness: Robustness | None = None
    stress: Stress | None = None


def build_card(
    folder: Path,
    data: Path,
    *,
    out: Path,
    rebuild: bool = False,
    first: bool = False,
    robustness: bool = False,
    progress: Progress = lambda step: None,
    compared: Callable[[Comparison], None] = lambda comparison: None,
) -> Built:
    """Make every variant and artifact of the card, compare them on validation, confirm what ships on the test, pack it.

    Args:
        folder: the card's folder; variants, artifacts and the report are written below it.
        data: where ``[dataset]`` of the card finds its tables.
        out: folder of the bundle.
        rebuild: make everything anew, whatever is there.
        first: the card is of a first try: an artifact that a gate fails is left out, as long as another ships.
        robustness: ask about odd images, even if the card has no ``[robustness]``.
        progress: told what is being done.
        compared: given the comparison as soon as it is there, whether or not the gates then hold.

    Raises:
        GateFailed: a gate does not hold; the report is written, the bundle is not.
        ConfigError, DataRejected, CompressionFailed, ConversionFailed, BackendError: as each step raises them.
    """
    card = read_card(folder)
    _refuse_foreign(card, folder)
    shop, choice = _opened(card, folder, data, progress)
    forget(folder)
    check_metrics(card.gates, shop.judge)
    add_bright(card, folder, golden_of(card, folder), shop.registry)
    models = models_of(card, folder, shop.registry, tuning=shop.tuning(), rebuild=rebuild, progress=progress)
    if card.chooser != PARENT:
        progress(f"choosing by {card.chooser}")
        shop, choice = choose_by_variant(shop, models.get(card.chooser))
        card = shop.card
    made, failed = _made(shop, models, rebuild=rebuild, first=first, progress=progress)
    shop, made = fit(shop, made, progress=progress), with_distances(shop, made, progress)
    measured = compare(shop, _wanted(card, models), made, progress=progress)
    measured = replace(measured, comparison=msgspec.structs.replace(measured.comparison, near=_near(shop, progress)))
    left = failed | (_left_out(measured.comparison.verdicts()) if first else {})
    kept = _without(measured.comparison, left)
    told = Telling(shop=shop, found=measured, comparison=kept, made=made, left=left, choice=choice)
    compared(kept)
    try:
        _hold_all(told, models, data, progress, compared, first=first, robustness=robustness)
        packed = _packed(card, folder, out, made, left, progress)
    except EdgeaiError as error:
        told.refuse(error)
        raise
    return Built(
        told.comparison,
        packed,
        folder / PAGE,
        left_out=tuple(f"{name}: {why}" for name, why in left.items()),
        robustness=told.robustness,
        stress=told.stress.stress if told.stress is not None else None,
    )


def _hold_all(
    told: Telling,
    models: ModelFiles,
    data: Path,
    progress: Progress,
    compared: Callable[[Comparison], None],
    *,
    first: bool,
    robustness: bool,
) -> None:
    """Confirm on the test, ask about odd images and wrong ones, write it all down, and hold every gate."""
    told.confirmed = confirm(
        told.shop,
        _wanted(told.shop.card, models),
        told.made,
        told.comparison,
        answers=told.found.answers[PARENT],
        progress=progress,
    )
    if told.confirmed is not None:
        compared(told.confirmed.comparison)
    _add_robustness(told, models, progress, asked=robustness)
    _add_stress(told, data, progress)
    progress("report")
    told.write()
    _hold_varying(told.comparison, first=first)
    hold(told.comparison.verdicts())
    hold({} if told.confirmed is None else told.confirmed.comparison.verdicts())


def _packed(
    card: Card, folder: Path, out: Path, made: Sequence[Made], left: dict[str, str], progress: Progress
) -> Packed:
    """The bundle, without what a first try leaves out."""
    if left:
        leave_out(folder / CARD_NAME, left)
        card = read_card(folder)
    shipped = {recipe.id for recipe in card.shipped}
    return write_bundle(card, folder, out, [one for one in made if one.artifact.id in shipped], progress=progress)


def _add_robustness(told: Telling, models: ModelFiles, progress: Progress, *, asked: bool) -> None:
    """The parent and what ships, asked of odd images: of the test once that is open; gates on it join the others."""
    tested, use = told.confirmed is not None, told.shop.card.robustness
    if not asked and use is None:
        return
    measured = of_build(told.shop, models.get(PARENT), told.ships, tested=tested, progress=progress)
    told.robustness = measured
    told.judge(lambda comparison: with_verdicts(comparison, use, measured))


def _add_stress(told: Telling, data: Path, progress: Progress) -> None:
    """What ships, packed, asked of wrong images, where the card wants it; gates on it join the others."""
    told.stress = measured = stress.of_build(told.shop, told.ships, data, progress=progress)
    if measured is not None:
        told.judge(lambda comparison: stress.with_verdicts(comparison, measured.stress))


def _opened(card: Card, folder: Path, data: Path, progress: Progress) -> tuple[Workshop, Chosen | None]:
    """The card with its samples, and what chose its options; what it lacks is said before these are read."""
    by_build = card.chooser != PARENT
    check_model(card, folder)  # one that was never trained has chosen nothing either
    choice = None if by_build else hold_choice(card, folder)
    golden_of(card, folder)
    hold_probation(card, folder)
    stress.hold_tables(card, data)
    shop = open_workshop(card, folder, data, progress=progress)
    if by_build:
        check_wish(card, shop.judge)  # before the variant is made that chooses
    else:
        hold_choice_of(shop)
    return shop, choice


def _near(shop: Workshop, progress: Progress) -> tuple[str, ...]:
    """Images of validation that training saw, but for how they are stored."""
    progress("looking for images of train in validation")
    assert shop.train is not None
    assert shop.validation is not None
    return nearly_in(shop.train.samples, shop.validation.samples)


def _shortly(error: ConversionFailed, most: int = 200) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= most else f"{words[:most]} ..."


def _left_out(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, str]:
    """Artifact -> why it does not ship; none where no other would."""
    failed = {name: "; ".join(str(one) for one in those if not one.holds) for name, those in verdicts.items()}
    left = {name: why for name, why in failed.items() if why}
    return left if len(left) < len(verdicts) else {}


def _without(comparison: Comparison, left: Collection[str]) -> Comparison:
    rows = tuple(msgspec.structs.replace(row, ship=row.ship and row.id not in left) for row in comparison.rows)
    return msgspec.structs.replace(comparison, rows=rows)


def _hold_varying(comparison: Comparison, *, first: bool) -> None:
    """Refuse to ship what says the same of everything, since its parent does.

    Raises:
        GateFailed: ``gate.constant``.
    """
    if comparison.constant:
        asked = "--values BLACK WHITE says what range the model takes; " if first else "look at [[transforms]]; "
        raise GateFailed(
            f"there is no bundle, since the Keras parent gives all {comparison.samples} samples the same answer",
            code="gate.constant",
            remedy=f"{asked}show it pictures that differ, or train it",
        )


def _made(
    shop: Workshop, models: ModelFiles, *, rebuild: bool, first: bool, progress: Progress
) -> tuple[list[Made], dict[str, str]]:
    """Every artifact; and of a first try, which ones cannot be made, and why: it asks for all that there are."""
    samples = shop.samples()
    made: list[Made] = []
    failed: dict[str, ConversionFailed] = {}
    for number, recipe in enumerate(shop.card.recipes, 1):

        def said(step: str, number: int = number) -> None:
            progress(f"[{number} of {len(shop.card.recipes)}] {step}")

        try:
            made.append(
                make(
                    recipe,
                    models,
                    card=shop.card,
                    folder=shop.folder,
                    registry=shop.registry,
                    samples=samples,
                    rebuild=rebuild,
                    progress=said,
                )
            )
        except ConversionFailed as error:
            if not first:
                raise
            failed[recipe.id] = error
    if failed and not made:
        raise next(iter(failed.values()))
    return made, {name: _shortly(error) for name, error in failed.items()}


def _wanted(card: Card, models: ModelFiles) -> list[ModelFile]:
    """The parent, and every variant that a recipe converts, in the card's order."""
    used = {recipe.variant for recipe in card.recipes}
    return [models.get(PARENT), *(models.get(variant.name) for variant in card.variants if variant.name in used)]


def _refuse_foreign(card: Card, folder: Path) -> None:
    if any(recipe.converter == AS_IS for recipe in card.recipes):
        raise ConfigError(
            f"{card.name} is taken as it came: there is no Keras parent to compare it with",
            code="build.foreign-model",
            remedy=f"edgeai pack {folder}, then edgeai evaluate on the bundle",
        )
