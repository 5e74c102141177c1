"""What a result states, in neutral words: what was found, doubt as doubt, and nothing that reads as an all-clear."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeai.api.instances import InstanceRef
from edgeai.api.results import Failure, Finding, GuardFigure, Outcome, Result
from edgeai.cli.wording import agreements, classes, disagrees, is_boxed, numbers_say, percent

NO_RESULT: Final = "no result"
NOT_NEGATIVE: Final = "This is not a negative finding."
NOT_FOR_DIAGNOSIS: Final = "NOT FOR DIAGNOSIS"
_CLOSE_ODDS: Final = 1.5
"""A score is close to a bound when their odds are less than so many times apart: 40 to 60 % for a bound of 50 %."""
_MOST_NAMED: Final = 3
_LEAST: Final = 1e-9
_GUARD: Final = "guard."
_NOTHING_SHOWN: Final = "This image was kept from the model"
_NOT_SPOKEN_OF: Final = "The model does not speak of this image"
"""Of what a guard withheld by what the model's own engine gave."""
_WITHHELD: Final = {
    Outcome.NOT_APPLICABLE: "This image is not for this model",
    Outcome.INDETERMINATE: "The model makes no statement",
    Outcome.FAILED: "This image could not be judged",
}
_TO_DO: Final = {
    Outcome.NOT_APPLICABLE: "Nothing, if such images are expected here. Otherwise correct the header, or send the "
    "image to the model that it is meant for.",
    Outcome.INDETERMINATE: "Judge the image without the model, or send a better one.",
    Outcome.FAILED: "Judge the image without the model, and tell whoever runs this device the code below.",
}
_WANTS: Final = re.compile(r"^(?P<attribute>[a-z_]+) is (?P<has>.+?), the model wants (?P<needs>.+)$")
"""The sentence of ``Eligibility.why_not``."""
_CAPITALS: Final = {"sop": "SOP", "uid": "UID"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a reader sees first.

    Attributes:
        headline: what was found, or that there is no result.
        doubtful: whether the headline itself is to be doubted.
        doubts: what is to be doubted, of it and of other labels; empty when nothing is.
    """

    headline: str
    doubtful: bool = False
    doubts: tuple[str, ...] = ()


def statement(result: Result, instance: InstanceRef | None = None) -> Statement:
    """What the result says of the whole instance; of what its header says more than the result where that is given."""
    if result.outcome is not Outcome.COMPLETED:
        return Statement(headline=_no_statement(result))
    stated = classes(result)
    close = close_calls(stated)
    differs = [
        f"does not fit the header: {header_says(result, f, instance)}" for f in agreements(result) if disagrees(f)
    ]
    nuances = {finding: nuance for finding, (nuance, _) in close.items()}
    first = next((finding for finding in stated if finding.present), None)
    return Statement(
        headline=_headline(stated, nuances),
        doubtful=bool(differs) or (bool(close) if first is None else first in close),
        doubts=(*differs, *(doubt for _, doubt in close.values())),
    )


def _no_statement(result: Result) -> str:
    is_guarded = result.reason is not None and result.reason.code.startswith(_GUARD)
    if not is_guarded or result.outcome is not Outcome.NOT_APPLICABLE:
        return _WITHHELD[result.outcome]
    return _NOTHING_SHOWN if result.engine is None else _NOT_SPOKEN_OF


def close_calls(stated: Sequence[Finding]) -> dict[Finding, tuple[str, str]]:
    """Labels of which a little more or less of the score would have changed what is stated; (a phrase, a sentence)."""
    close = {finding: told for finding in stated if (told := _close(finding, stated)) is not None}
    scores = [finding.probability or 0.0 for finding in stated]
    if len(stated) == 2 and abs(sum(scores) - 1.0) < _LEAST and any(finding.present for finding in close):
        return {finding: told for finding, told in close.items() if finding.present}  # the other is its complement
    return close


def needs_and_has(reason: Failure) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """((what is needed, its value), (what the image has, its value)), where the reason says so."""
    told = _WANTS.match(reason.message)
    if told is None:
        return None
    attribute = attribute_in_words(told["attribute"])
    return ("needs", f"{attribute} {told['needs']}"), ("has", f"{attribute} {told['has']}")


def what_to_do(result: Result) -> str:
    """The remedy of its reason, or what holds for every such outcome."""
    remedy = result.reason.remedy if result.reason else None
    return remedy[:1].upper() + remedy[1:].removesuffix(".") + "." if remedy else _TO_DO[result.outcome]


def figure_says(figure: GuardFigure) -> str:
    """One figure of a check in front of the model."""
    bound = "" if figure.threshold is None else f", bound {figure.threshold:.3g}"
    return f"{figure.check}: {figure.name} {figure.value:.3g}{bound}"


def how_decided(stated: Sequence[Finding]) -> str:
    """What makes a label stated, where one sentence holds for all; else empty."""
    scored = [f for f in stated if f.region is None and f.probability is not None]
    bounds = {f.threshold for f in scored}
    if not scored or len(bounds) > 1:
        return ""
    bound = next(iter(bounds))
    if bound is None:
        return f"The highest of {len(scored)} is stated." if len(scored) > 1 else "The only label is stated."
    return f"Stated from {percent_short(bound)} on, where the mark is."


def percent_short(share: float) -> str:
    """``50 %``, ``2.5 %``: a bound, without digits that it does not have."""
    return f"{share * 100:.3g} %"


def header_says(result: Result, agreement: Finding, instance: InstanceRef | None = None) -> str:
    """The attribute that an agreement speaks of, with its value where that is known: ``Modality US``."""
    value = str(getattr(instance or result.instance, agreement.label, ""))
    return f"{attribute_in_words(agreement.label)} {value}".rstrip()


def attribute_in_words(name: str) -> str:
    """``view_position`` -> ``View Position``, as DICOM names it."""
    return " ".join(_CAPITALS.get(word, word.capitalize()) for word in name.split("_"))


def _headline(stated: Sequence[Finding], nuances: Mapping[Finding, str]) -> str:
    present = [finding for finding in stated if finding.present]
    if present:
        first = present[0]
        if len(present) == 1:
            nuance = nuances.get(first)
            words = f"{first.label} outlined" if first.region is not None else _stated(first)
            return f"{words}, {nuance}" if nuance else words
        return _named(present)
    near = [finding for finding in stated if finding in nuances]
    if near:
        return f"{near[0].label}, {nuances[near[0]]}"
    if all(finding.region is not None for finding in stated) and stated:
        return f"no {' or '.join(f.label for f in stated[:_MOST_NAMED])} outlined"
    if len(stated) == 1:
        return f"{stated[0].label}: {'not stated' if stated[0].threshold is None else 'below its threshold'}"
    if all(finding.threshold is None for finding in stated):
        return "no label is stated" if stated else "findings of single frames"
    return "no label reaches its threshold"


def _named(present: Sequence[Finding]) -> str:
    counted = Counter(_stated(finding) for finding in present)
    labels = [name if count == 1 else f"{count} \u00d7 {name}" for name, count in counted.items()]
    more = f" and {len(labels) - _MOST_NAMED} more" if len(labels) > _MOST_NAMED else ""
    outlined = " outlined" if all(finding.region is not None for finding in present) else ""
    return ", ".join(labels[:_MOST_NAMED]) + more + outlined


def _stated(finding: Finding) -> str:
    """Its label; where its number is all that a finding says, with the number: one, or one that bears its name."""
    names = [one.name for one in finding.measurements]
    is_number = finding.probability is None and finding.region is None and (len(names) == 1 or finding.label in names)
    return f"{finding.label} {numbers_say(finding)}" if is_number else finding.label


def _close(finding: Finding, among: Sequence[Finding]) -> tuple[str, str] | None:
    """(what the headline adds, the doubt in a sentence) where it was a close call."""
    score = finding.probability
    if score is None:
        return None
    bound = finding.threshold
    if bound is not None and 0.0 < bound < 1.0 and _apart(_odds(score), _odds(bound)) < _CLOSE_ODDS:
        if finding.region is not None and not is_boxed(finding.region):
            return "faintly", f"{finding.label}: {percent(score)} inside, outlined from {percent_short(bound)}"
        side = "just above" if finding.present else "just below"
        return f"{side} its threshold", f"{finding.label}: {percent(score)}, stated from {percent_short(bound)}"
    rival = _rival(finding, among)
    if rival is not None and _apart(score, rival.probability or 0.0) < _CLOSE_ODDS:
        doubt = f"{finding.label} {percent(score)}, {rival.label} {percent(rival.probability)}"
        return f"closely before {rival.label}", doubt
    return None


def _rival(finding: Finding, among: Sequence[Finding]) -> Finding | None:
    """The label that was not stated for no other reason than that this one is higher."""
    if not finding.present or finding.region is not None:
        return None
    for other in among:
        reaches = other.probability is not None and (other.threshold is None or other.probability >= other.threshold)
        if reaches and not other.present and other.region is None:
            return other
    return None


def _odds(share: float) -> float:
    kept = min(1.0 - _LEAST, max(_LEAST, share))
    return kept / (1.0 - kept)


def _apart(one: float, other: float) -> float:
    """How many times the larger is the smaller."""
    return max(one, other, _LEAST) / max(min(one, other), _LEAST)
