"""The robustness of what a build made: its parent and what ships, on the samples that judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from edgeai.api import Infer
from edgeai.bundle.reader import open_bundle
from edgeai.pipeline import Pipeline
from edgeai_workbench.card import PARENT
from edgeai_workbench.comparison import KERAS, Comparison, opened
from edgeai_workbench.contenders import Contender, card_of
from edgeai_workbench.convert import ARTIFACTS, backend_of
from edgeai_workbench.distances import Held
from edgeai_workbench.pack import Made
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.robustness.asking import Asker
from edgeai_workbench.robustness.measuring import measure, verdicts_of
from edgeai_workbench.robustness.results import Robustness
from edgeai_workbench.robustness.settings import RobustnessUse
from edgeai_workbench.standing import sentry_of
from edgeai_workbench.variants import ModelFile
from edgeai_workbench.workshop import Workshop


def of_build(
    shop: Workshop,
    parent: ModelFile,
    made: Sequence[Made],
    *,
    tested: bool,
    progress: Callable[[str], None],
) -> Robustness:
    """Ask the parent and ``made``, each on one thread of its engine.

    Args:
        shop: the card, with its samples.
        parent: the Keras model that artifacts are held against.
        made: what ships.
        tested: whether the test has been opened: then its samples are asked about, else those of validation.
        progress: told how far it is.

    Raises:
        EdgeaiError: a model cannot be opened, or fails, and not for being asked of an odd image.
    """
    card = shop.card
    assert shop.validation is not None
    with ExitStack() as stack:
        backend = shop.registry.backends[KERAS]
        models: dict[str, Infer] = {PARENT: opened(stack, shop, backend, parent.path, {}).run}
        own = [spec.name for spec in shop.outputs]
        for one in made:
            path = shop.folder / ARTIFACTS / one.artifact.id / one.artifact.path
            engine = backend_of(shop.registry, one.artifact.format)
            session = opened(stack, shop, engine, path, one.artifact.options, one.model.added)
            models[one.artifact.id] = Held(session.run, own, one.distance, withholds=True)
        asker = Asker(
            samples=shop.tested if tested else shop.validation.samples,
            models=models,
            pipeline=Pipeline(card.transforms, shop.registry.transforms, shop.inputs[0]),
            task=shop.task,
            judge=shop.judge,
            input=shop.inputs[0].name,
            eligibility=card.for_manifest()["eligibility"],
            guard=card.guard,
            sentry=stack.enter_context(sentry_of(card, shop.folder)),
        )
        return measure(
            asker,
            card.robustness or RobustnessUse(),
            split="test" if tested else "validation",
            seed=card.training.seed,
            progress=progress,
        )


def of_contender(
    contender: Contender,
    prepared: Prepared,
    bundle: Path,
    *,
    split: str,
    progress: Callable[[str], None],
) -> Robustness:
    """Ask a bundle, as it is open, of what its own card says, or else the defaults. Raises as ``of_build``."""
    card = card_of(open_bundle(bundle))
    use = (card.robustness if card else None) or RobustnessUse()
    asker = Asker(
        samples=prepared.samples,
        models={contender.engine.artifact: contender.held(withholds=True)},
        pipeline=contender.pipeline,
        task=contender.task,
        judge=contender.judge,
        input=contender.manifest.input_specs()[0].name,
        eligibility=contender.manifest.eligibility,
        guard=contender.manifest.guard,
        sentry=contender.sentry,
    )
    return measure(asker, use, split=split, seed=0, progress=progress)


def with_verdicts(comparison: Comparison, use: RobustnessUse | None, measured: Robustness) -> Comparison:
    """The comparison with the card's bounds on odd images beside the other gates of what ships.

    Raises:
        ConfigError: ``config.card-robustness``.
    """
    if use is None or not use.bounded:
        return comparison
    rows = [
        msgspec.structs.replace(row, verdicts=(*row.verdicts, *verdicts_of(use, measured, row.id))) if row.ship else row
        for row in comparison.rows
    ]
    return msgspec.structs.replace(comparison, rows=tuple(rows))
