"""``edgeai build``: everything that a card asks for, in order, and a bundle only if every gate holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeai.api import ConfigError
from edgeai.build.card import AS_IS, PARENT, Card, read_card
from edgeai.build.comparison import Comparison, compare, judged_digests
from edgeai.build.gates import hold, keep_judgement
from edgeai.build.pack import Made, Packed, golden_of, make, models_of, write_bundle
from edgeai.build.report import write_report
from edgeai.build.report.pictures import pictures_of
from edgeai.build.variants import ModelFile, ModelFiles
from edgeai.build.workshop import Workshop, open_workshop

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of a build: the comparison of all that was made, and the bundle."""

    comparison: Comparison
    packed: Packed
    report: Path


def build_card(
    folder: Path,
    data: Path,
    *,
    out: Path,
    rebuild: bool = False,
    progress: Progress = lambda step: None,
    compared: Callable[[Comparison], None] = lambda comparison: None,
) -> Built:
    """Make every variant and artifact of the card, compare them on the validation samples, and pack what ships.

    Args:
        folder: the card's folder; variants, artifacts and the report are written below it.
        data: where ``[dataset]`` of the card finds its tables.
        out: folder of the bundle.
        rebuild: make everything anew, whatever is there.
        progress: told what is being done.
        compared: given the comparison as soon as it is there, whether or not the gates then hold.

    Raises:
        GateFailed: a gate does not hold; the report is written, the bundle is not.
        ConfigError, DataRejected, CompressionFailed, ConversionFailed, BackendError: as each step raises them.
    """
    card = read_card(folder)
    _refuse_foreign(card, folder)
    golden_of(card, folder)  # what the card lacks is said before samples are read
    shop = open_workshop(card, folder, data, progress=progress)
    models = models_of(card, folder, shop.registry, tuning=shop.tuning(), rebuild=rebuild, progress=progress)
    made = _made(shop, models, rebuild=rebuild, progress=progress)
    found = compare(shop, _wanted(card, models), made, progress=progress)
    comparison = found.comparison
    compared(comparison)
    progress("report")
    command = f"edgeai build {folder.name} --data DIR"
    write_report(folder, card, comparison, pictures_of(shop, found), command=command)
    verdicts = comparison.verdicts()
    keep_judgement(card, folder, judged_digests(shop, made), verdicts)
    hold(verdicts)
    shipped = {recipe.id for recipe in card.shipped}
    packed = write_bundle(card, folder, out, [one for one in made if one.artifact.id in shipped], progress=progress)
    return Built(comparison=comparison, packed=packed, report=folder / "report.html")


def _made(shop: Workshop, models: ModelFiles, *, rebuild: bool, progress: Progress) -> list[Made]:
    samples = shop.samples()
    made = []
    for number, recipe in enumerate(shop.card.recipes, 1):

        def said(step: str, number: int = number) -> None:
            progress(f"[{number} of {len(shop.card.recipes)}] {step}")

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
    return made


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
