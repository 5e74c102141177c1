"""A third party's plugin: a task of which edgeai has never heard. It measures one length, and brings its own judge.

It imports the header and numpy, and nothing else: what a plugin's author would write.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgeai.api import (
    LOWER,
    Case,
    Cells,
    Column,
    ConfigError,
    Curve,
    Drawing,
    EvaluationFailed,
    Figure,
    FigureUndefined,
    Finding,
    Findings,
    FrameContext,
    Guess,
    GuessRequest,
    InstanceRef,
    Judge,
    Judged,
    Measurement,
    Objective,
    OptionSpec,
    Panel,
    Plane,
    Share,
    TaskFailed,
    TaskMisfit,
    TaskRequest,
    TaskSpec,
    Tensors,
    check_tensors,
    hookimpl,
)

EDGEAI_API = (1, 3)
KIND = "gauge"
OPTIONS = (
    OptionSpec(name="what", help="What is measured.", required=True),
    OptionSpec(name="unit", help="Of the output, as UCUM writes it.", default="px"),
    OptionSpec(name="same", help="Two lengths that differ by no more are the same decision.", default=1.0),
)


class Gauge:
    """The device's side."""

    def __init__(self, request: TaskRequest) -> None:
        self.what = request.options.get("what")
        self.unit = request.options.get("unit", "px")
        self.same = request.options.get("same", 1.0)
        if not isinstance(self.what, str) or not self.what or not isinstance(self.unit, str):
            raise TaskFailed("what and unit are words")
        if type(self.same) not in (int, float) or not 0 < self.same < 1e9:
            raise TaskFailed(f"same is a length above 0, not {self.same!r}")
        if len(request.outputs) != 1 or request.outputs[0].shape[1:] != (1,):
            raise TaskFailed(f"one output of one value is measured, not {request.outputs}")
        self.outputs = request.outputs

    def interpret(self, outputs: Tensors, context: FrameContext) -> Findings:
        check_tensors(self.outputs, outputs, what="output")
        value = float(outputs[self.outputs[0].name].reshape(-1)[0])
        if not np.isfinite(value):
            raise TaskFailed("the model's output is not a number")
        measured = Measurement(name=self.what, value=value, unit=self.unit)
        number = context.frame.number
        return (Finding(kind=KIND, label=self.what, present=True, measurements=(measured,), frame_number=number),)

    def summarise(self, frames: Sequence[Findings], instance: InstanceRef) -> Findings:
        if not frames:
            raise TaskFailed("there are no frames to summarise")
        first = frames[0][0]
        mean = float(np.mean([findings[0].measurements[0].value for findings in frames]))
        measured = replace(first.measurements[0], value=mean)
        return (replace(first, measurements=(measured,), frame_number=None),)


class GaugeJudge(Judge):
    """The build host's side: what a table says, how far off an answer is."""

    columns = (Column(name="length", help="column of the true length"),)
    main = ("mae",)

    def __init__(self, request: TaskRequest) -> None:
        self._gauge = Gauge(request)
        self.objective = Objective(loss="acme-huber", formula=_huber)

    def read(self, cells: Cells) -> float | None:
        if not cells.has("length"):
            return None
        value = cells.number("length")
        if value < 0:
            raise cells.wrong(f"{cells.columns('length')[0]} is {value:g}", code="data.value-invalid")
        return value

    def digest(self, truth: float) -> bytes:
        return repr(truth).encode()

    def targets(self, case: Case) -> Tensors:
        (output,) = self._gauge.outputs
        if output.dtype != "float32":
            raise ConfigError(f"output {output.name} is no float32", code="build.no-target")
        return {output.name: np.array([case.truth], np.float32)}

    def stratum(self, case: Case) -> Hashable:
        return _size(case.truth)

    def subgroups(self, case: Case) -> Mapping[str, str]:
        return {"size": _size(case.truth)}

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> float:
        lengths = [finding.measurements[0].value for finding in findings if finding.kind == KIND]
        if not lengths:
            raise EvaluationFailed("nothing was measured", code="evaluate.no-findings")
        return lengths[0]

    def alike(self, one: float, other: float) -> bool:
        return abs(one - other) <= self._gauge.same

    def judged(self, cases: Sequence[Case], answers: Sequence[float]) -> Judged:
        error = np.array(answers, np.float64) - np.array([case.truth for case in cases], np.float64)

        def mean(name: str, of: Any) -> Figure:
            return Figure(
                name=name,
                value=lambda: float(of.mean()),
                over=lambda weights: weights @ of / weights.sum(axis=-1),
                better=LOWER,
                unit=self._gauge.unit,
            )

        return Judged(
            figures=(mean("mae", abs(error)), _spread(error, self._gauge.unit)), point=lambda n: _at(n, error)
        )

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[float]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        truth = np.array([case.truth for case in cases])
        ends = (float(truth.min()), float(truth.max()))
        dots = [Curve(x=truth, y=np.array(each), label=name, style="dots") for name, each in answers.items()]
        panel = Panel(marks=(*dots, Curve(x=ends, y=ends, style="guide")), x="true", y="found")
        name, last = list(answers.items())[-1]
        worst = int(np.argmax(abs(np.array(last) - truth)))
        image = Panel(marks=(Plane(pixels=cases[worst].image()),), title=cases[worst].id, axes=False)
        return (
            Drawing(title="Found against true", says=f"On the line, {self._gauge.what} is right.", panels=(panel,)),
            Drawing(title=f"{name}: its worst case", says=f"True: {truth[worst]:.1f}.", panels=(image,)),
        )


def _huber(ops: Any, truth: Any, answer: Any) -> Any:
    off = ops.abs(truth - answer)
    return ops.mean(ops.where(off < 1.0, 0.5 * off * off, off - 0.5), axis=-1)


def _size(length: float) -> str:
    return "small" if length < 5 else "large"


def _spread(error: Any, unit: str) -> Figure:
    """Standard deviation of the error: of one sample there is none."""

    def over(weights: Any) -> Any:
        mean = weights @ error / weights.sum(axis=-1)
        square = weights @ error**2 / weights.sum(axis=-1)
        return np.sqrt(np.maximum(0, square - mean**2))

    def value() -> float:
        if len(error) < 2:
            raise FigureUndefined("one sample has no spread")
        return float(over(np.ones((1, len(error))))[0])

    return Figure(name="spread", value=value, over=over, better=LOWER, unit=unit)


def _at(name: str, error: Any) -> Figure | None:
    """``within@2``: the share of samples that are off by no more."""
    word, at, bound = name.partition("@")
    if word != "within" or not at:
        return None
    hits = (abs(error) <= float(bound)).astype(np.float64)
    ones = np.ones(len(hits))
    return Figure(
        name=name,
        value=lambda: float(hits.mean()),
        over=lambda weights: weights @ hits / weights.sum(axis=-1),
        parts=(Share(hits=hits, among=ones),),
    )


def guessed(request: GuessRequest) -> Guess:
    """One number that nothing was applied to is a length; the user's only label says of what."""
    name = request.output.name
    if tuple(request.output.shape[1:]) != (1,) or request.activation not in ("", "none"):
        raise TaskMisfit(f"output {name} is no length: a gauge reads one bare number")
    if request.activation == "" and not request.answers:
        return Guess(options={"what": name}, settled=False)
    what = request.labels(1)[0] if request.labelled else name
    return Guess(options={"what": what}, says=f"output {name}: the length of {what}, in pixels")


@hookimpl
def edgeai_tasks() -> tuple[TaskSpec, ...]:
    spec = TaskSpec(
        name="acme-gauge",
        build=Gauge,
        options=OPTIONS,
        help="Measures a length.",
        judge=GaugeJudge,
        guess=guessed,
    )
    return (spec,)
