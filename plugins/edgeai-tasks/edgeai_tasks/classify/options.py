"""The options of classify, read strictly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgeai.api import Options, OptionSpec, TaskFailed
from edgeai_tasks.reading import Label, Reader

MODES = ("multi-class", "multi-label", "binary")
ACTIVATIONS = ("none", "softmax", "sigmoid")
SUMMARIES = ("mean", "max", "vote")
ATTRIBUTES = ("modality", "body_part_examined", "view_position", "photometric_interpretation", "sop_class_uid")
ANY_OTHER = "*"

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="labels",
        required=True,
        help="the model's labels in the order of its outputs: each a word, or {label, threshold, concept: {code, "
        "scheme, meaning}}; binary takes one (the positive) or two (negative, positive)",
    ),
    OptionSpec(
        name="mode",
        default="multi-class",
        choices=MODES,
        help="multi-class: exactly one label applies; multi-label: any number; binary: one output for yes or no",
    ),
    OptionSpec(
        name="activation",
        default="none",
        choices=ACTIVATIONS,
        help="what turns the outputs into probabilities: none where the model ends in it itself, softmax for "
        "multi-class logits, sigmoid for multi-label or binary ones",
    ),
    OptionSpec(
        name="temperature",
        default=1.0,
        help="calibration, above 0: logits (or log p, log-odds) are divided by it; 1 changes nothing",
    ),
    OptionSpec(
        name="threshold",
        help="least probability of a label that is present, 0 to 1; when absent 0.5, and none for multi-class",
    ),
    OptionSpec(name="thresholds", default={}, help="label -> its own threshold, 0 to 1"),
    OptionSpec(name="top_k", default=0, help="list only so many of the most probable labels, and all present; 0: all"),
    OptionSpec(
        name="summarise",
        default="mean",
        choices=SUMMARIES,
        help="instance from frames: mean or max of each probability, or vote: share of frames that have it present, "
        "present above 0.5",
    ),
    OptionSpec(name="per_frame", default=False, help="whether the result lists each frame's findings too"),
    OptionSpec(
        name="expect",
        help="a finding of kind agreement: {attribute, values: {label: [attribute values], '*': label for all "
        "others}, threshold (0.5)}; not for multi-label",
    ),
    OptionSpec(name="output", help="which output of the model; needed where it has several"),
    OptionSpec(
        name="dequantise",
        help="of a model that gives whole numbers: [scale, zero point], so that scale * (whole - zero point) is meant",
    ),
)


_READ = Reader("classify", OPTIONS)


def refused(name: str, why: str) -> TaskFailed:
    """The error for an option that makes no sense."""
    return _READ.refused(name, why)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Which labels fit which value of an attribute of the header."""

    attribute: str
    by_value: Mapping[str, frozenset[str]]
    otherwise: frozenset[str]
    threshold: float

    def labels_for(self, value: str) -> frozenset[str]:
        """Labels that an image with this attribute value should bear; none for an empty or unlisted value."""
        return self.by_value.get(value, self.otherwise) if value else frozenset()


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """What the manifest says about a classifier."""

    mode: str
    activation: str
    labels: tuple[Label, ...]
    temperature: float
    top_k: int
    summarise: str
    per_frame: bool
    expect: Expectation | None
    output: str | None
    scale: float
    zero_point: float

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' words, in the order of the outputs."""
        return tuple(label.label for label in self.labels)

    @property
    def output_size(self) -> int:
        """How many values the model gives for a frame."""
        return 1 if self.mode == "binary" else len(self.labels)

    @classmethod
    def read(cls, given: Options) -> ClassifyOptions:
        """Read a manifest's options.

        Raises:
            TaskFailed: ``task.options``, naming the option.
        """
        values = _READ.values(given)
        mode = _READ.choice("mode", values["mode"], MODES)
        scale, zero_point = _dequantise(values["dequantise"])
        labels = _with_thresholds(_READ.labels(values["labels"]), mode, values["threshold"], values["thresholds"])
        return cls(
            mode=mode,
            activation=_activation(values["activation"], mode),
            labels=labels,
            temperature=_READ.temperature(values["temperature"]),
            top_k=_READ.whole("top_k", values["top_k"]),
            summarise=_READ.choice("summarise", values["summarise"], SUMMARIES),
            per_frame=_READ.flag("per_frame", values["per_frame"]),
            expect=_expect(values["expect"], labels, mode),
            output=None if values["output"] is None else _READ.text("output", values["output"]),
            scale=scale,
            zero_point=zero_point,
        )


def _with_thresholds(labels: tuple[Label, ...], mode: str, common: Any, named: Any) -> tuple[Label, ...]:
    default = None if mode == "multi-class" else 0.5
    if common is not None:
        default = _READ.fraction("threshold", common)
    own = _READ.thresholds(labels, default, named)
    return _binary(labels, own, named) if mode == "binary" else own


def _binary(given: tuple[Label, ...], labels: tuple[Label, ...], named: Mapping[str, Any]) -> tuple[Label, ...]:
    if len(labels) > 2:
        raise refused("labels", f"are {len(labels)}; binary takes the positive, or the negative and the positive")
    if len(labels) == 1:
        return labels
    if given[0].threshold is not None or given[0].label in named:
        raise refused("labels", f"give {given[0].label!r} a threshold; in binary it is what the positive's leaves")
    positive = labels[1]
    return (replace(labels[0], threshold=1.0 - (positive.threshold or 0.0)), positive)


def _dequantise(value: Any) -> tuple[float, float]:
    """(scale, zero point); 1 and 0 where the outputs are meant as they are."""
    if value is None:
        return 1.0, 0.0
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise refused("dequantise", f"is {value!r}")
    if not (math.isfinite(numbers[0]) and math.isfinite(numbers[1]) and numbers[0] > 0):
        raise refused("dequantise", f"is {value!r}; the scale must be above 0")
    return float(numbers[0]), float(numbers[1])


def _activation(value: Any, mode: str) -> str:
    activation = _READ.choice("activation", value, ACTIVATIONS)
    if activation == ("sigmoid" if mode == "multi-class" else "softmax"):
        raise refused("activation", f"is {activation}, which does not go with mode {mode}")
    return activation


def _expect(value: Any, labels: tuple[Label, ...], mode: str) -> Expectation | None:
    if value is None:
        return None
    if mode == "multi-label" or len(labels) < 2:
        raise refused("expect", "needs labels that exclude one another")
    if not isinstance(value, Mapping) or set(value) - {"threshold"} != {"attribute", "values"}:
        raise refused("expect", f"is {value!r}, which needs attribute and values, and may have threshold")
    attribute = value["attribute"]
    if attribute not in ATTRIBUTES:
        raise refused("expect", f"has attribute {attribute!r}, not one of {', '.join(ATTRIBUTES)}")
    if not isinstance(value["values"], Mapping) or not value["values"]:
        raise refused("expect", "has values that are no table of label and attribute values")
    by_value, otherwise = _expected_values(value["values"], {label.label for label in labels})
    threshold = _READ.fraction("expect", value.get("threshold", 0.5))
    return Expectation(attribute=attribute, by_value=by_value, otherwise=otherwise, threshold=threshold)


def _expected_values(values: Mapping[str, Any], names: set[str]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    by_value: dict[str, frozenset[str]] = {}
    otherwise: frozenset[str] = frozenset()
    for label, listed in values.items():
        meant = listed if label == ANY_OTHER else label
        if meant not in names:
            raise refused("expect", f"names {meant!r}, which is no label")
        if label == ANY_OTHER:
            otherwise = frozenset({meant})
            continue
        if not isinstance(listed, list | tuple) or not listed:
            raise refused("expect", f"lists no attribute values for {label!r}")
        for item in listed:
            by_value[_READ.text("expect", item)] = by_value.get(item, frozenset()) | {label}
    return by_value, otherwise
