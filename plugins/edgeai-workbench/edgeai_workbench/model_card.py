"""CycloneDX model cards: what the model and each artifact is for, and how good it was found to be.

Figures are those of the evidence, with their intervals and splits: no judgement of ours is added. A model that nobody
measured has no card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edgeai.bundle.evidence import Estimate, Evidence, Trial
from edgeai_workbench.card import PARENT, Card, Data

_DIGITS = ".6g"


def model_ref(card: Card) -> str:
    """Names the Keras parent in a bill of materials."""
    return f"model:{card.name}@{card.version}"


def artifact_ref(name: str) -> str:
    """Names an artifact there."""
    return f"artifact:{name}"


def data_ref(item: Data) -> str:
    """Names a source of data there."""
    return f"data:{item.name}"


def model_cards(card: Card, artifacts: Iterable[str], evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Reference of a component -> its ``modelCard`` (CycloneDX 1.6)."""
    refs = {PARENT: model_ref(card), **{name: artifact_ref(name) for name in artifacts}}
    return {ref: _card(card, evidence, name) for name, ref in refs.items()}


def _card(card: Card, evidence: Evidence, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "modelParameters": {
            "task": card.task.name,
            "datasets": [{"ref": data_ref(item)} for item in card.data],
            "inputs": [{"format": _format(tensor)} for tensor in card.inputs],
            "outputs": [{"format": _format(tensor)} for tensor in card.outputs],
        },
        "considerations": {"useCases": [card.intended_use], "technicalLimitations": list(card.limits)},
    }
    metrics = [metric for trial in evidence.trials for metric in _metrics(trial, name)]
    if metrics:
        body["quantitativeAnalysis"] = {"performanceMetrics": metrics}
        body["properties"] = [
            {"name": f"edgeai:data:{trial.split}", "value": trial.data} for trial in evidence.trials if trial.data
        ]
    return body


def _metrics(trial: Trial, name: str) -> Iterator[dict[str, Any]]:
    """The figures of one model on one split, and of each part of it."""
    for model in trial.models:
        if model.id == name:
            yield from _of(trial.split, model.figures)
            for part, figures in model.parts.items():
                yield from _of(f"{trial.split}, {part}", figures)


def _of(where: str, figures: dict[str, Estimate]) -> Iterator[dict[str, Any]]:
    for name, figure in figures.items():
        if figure.value is None:
            continue
        unit = f" {figure.unit}" if figure.unit else ""
        metric: dict[str, Any] = {"type": name, "value": f"{figure.value:{_DIGITS}}{unit}", "slice": where}
        if figure.low is not None and figure.high is not None:
            ends: Sequence[float] = (figure.low, figure.high)
            low, high = (f"{end:{_DIGITS}}{unit}" for end in ends)
            metric["confidenceInterval"] = {"lowerBound": low, "upperBound": high}
        yield metric


def _format(tensor: Any) -> str:
    """``float32 1 x 224 x 224 x 1 NHWC``."""
    extents = " x ".join(str(extent) if extent else "any" for extent in tensor.shape)
    return f"{tensor.dtype} {extents} {tensor.layout}".rstrip()
