"""The last step of a build: what validation chose is confirmed on the test, which nothing before has asked anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from edgeai_workbench.card import PARENT
from edgeai_workbench.comparison import Comparison, Row, compare, judged_digests
from edgeai_workbench.dataset import digest
from edgeai_workbench.evaluation import Answers
from edgeai_workbench.foreseeing import hold_foreseen
from edgeai_workbench.openings import Opening, open_test
from edgeai_workbench.pack import Made
from edgeai_workbench.variants import ModelFile
from edgeai_workbench.workshop import Workshop

_TIMES = ("ms", "ms_low", "ms_high", "speed_ratio")
_OF_THE_MACHINE = ("max_size_ratio", "max_latency_ratio")
"""Gates that say the same whatever the samples; they are held once, where all models are timed in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What ships, and its parent, on the test; ``opening`` is this look at it."""

    comparison: Comparison
    opening: Opening


def confirm(
    shop: Workshop,
    models: Sequence[ModelFile],
    made: Sequence[Made],
    chosen: Comparison,
    *,
    answers: Answers,
    progress: Callable[[str], None],
) -> Confirmed | None:
    """Ask the parent and what ships of the test; ``None`` where the card has none, or validation refuses already.

    Args:
        shop: the card, with its samples.
        models: the parent first.
        made: every artifact.
        chosen: what validation says of them.
        answers: the parent's on validation, by which it is foreseen what the test cannot show.
        progress: told what is being done.

    Raises:
        GateFailed: ``gate.test-opened``; ``gate.test-undetermined``, before it is opened.
        EdgeaiError: as ``compare``.
    """
    if not shop.tested or not all(verdict.holds for those in chosen.verdicts().values() for verdict in those):
        return None
    shipped = {row.id: row for row in chosen.rows if row.ship}
    kept = [one for one in made if one.artifact.id in shipped]
    judged = replace(shop, validation=shop.prepared_test(progress))
    assert judged.validation is not None
    hold_foreseen(judged.validation, answers, shop.card.gates)
    progress("test: opening")
    digests = {name: each for name, each in judged_digests(shop, made).items() if name in shipped}
    opening = open_test(
        shop.folder, data=digest(shop.tested, shop.judge), model=shop.card.model_digest, artifacts=digests
    )
    used = {PARENT, *(one.model.variant for one in kept)}
    measured = compare(
        judged,
        [model for model in models if model.variant in used],
        kept,
        progress=lambda step: progress(f"test: {step}"),
    )
    known = {row.id: row for row in chosen.rows}
    rows = [_with(row, known[row.id]) for row in measured.comparison.rows]
    comparison = msgspec.structs.replace(
        measured.comparison, rows=tuple(rows), split="test", reference=chosen.reference, load=chosen.load
    )
    return Confirmed(comparison=comparison, opening=opening)


def _with(row: Row, chosen: Row) -> Row:
    """A row of the test, with what stands already: its times, against what they were held, and verdicts on them.

    What times are held against need not ship, and so is not asked again.
    """
    row = msgspec.structs.replace(row, **{name: getattr(chosen, name) for name in _TIMES})
    if not chosen.ship:
        return row
    on_test = [verdict for verdict in row.verdicts if verdict.gate not in _OF_THE_MACHINE]
    kept = [verdict for verdict in chosen.verdicts if verdict.gate in _OF_THE_MACHINE]
    return msgspec.structs.replace(row, ship=True, verdicts=(*on_test, *kept))
