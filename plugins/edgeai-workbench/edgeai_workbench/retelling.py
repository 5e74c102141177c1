"""Another release of what was built already: report and evidence are told under the card's new version.

The artifacts are the same and so are their figures; nothing is measured, and no test is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edgeai.bundle.evidence import EVIDENCE_NAME, Candidate, Evidence, decode_evidence
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.evidence import still
from edgeai_workbench.judgement import judge_as_told
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.pack import evidence_for
from edgeai_workbench.report import write_told

Value = TypeVar("Value")


def retell(folder: Path) -> str:
    """Tell what was built as the version that the card has by now; says so in a sentence, empty where nothing is done.

    Nothing is told of artifacts, or behind a card, other than those that were judged.

    Raises:
        ConfigError: the card cannot be read; ``build.extra-missing``.
    """
    card = read_card(folder)
    built = _built(card, folder)
    if built is None:
        return ""
    write_told(folder, card, _as_shown(msgspec.structs.replace(built, version=card.version), card))
    judge_as_told(folder)
    return f"report and evidence of {built.version} are told as {card.version}'s: the same artifacts, the same figures"


def _built(card: Card, folder: Path) -> Evidence | None:
    """What was measured of another version with these very artifacts; ``None`` where it is not of these, or of this."""
    try:
        evidence = decode_evidence((folder / EVIDENCE_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    as_built = card.model_copy(update={"version": evidence.version})
    shipped = [recipe.id for recipe in card.shipped]
    is_these = evidence.version != card.version and evidence_for(as_built, folder, shipped) == still(evidence)
    return evidence if is_these else None


def _as_shown(evidence: Evidence, card: Card) -> Evidence:
    """With figures in the order in which the task's judge shows them: a file of evidence has its keys sorted."""
    outputs = tuple(tensor.spec() for tensor in card.for_manifest()["outputs"])
    judged = judge_by_plugins(card.plugins, card.task, outputs).judged((), ())
    names = [figure.name for figure in judged.figures]
    trials = (
        msgspec.structs.replace(trial, models=tuple(_in_order(model, [trial.main, *names]) for model in trial.models))
        for trial in evidence.trials
    )
    return msgspec.structs.replace(evidence, trials=tuple(trials))


def _in_order(model: Candidate, names: Sequence[str]) -> Candidate:
    return msgspec.structs.replace(
        model,
        figures=_first(names, model.figures),
        drops=_first(names, model.drops),
        parts={part: _first(names, figures) for part, figures in model.parts.items()},
    )


def _first(names: Sequence[str], values: Mapping[str, Value]) -> dict[str, Value]:
    """These names first, in this order."""
    return {name: values[name] for name in dict.fromkeys([*names, *values]) if name in values}
