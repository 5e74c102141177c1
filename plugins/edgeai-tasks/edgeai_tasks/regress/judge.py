"""What the build host asks of regress: what is true, what training compares with, how good answers are."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from edgeai.api import (
    Assessed,
    Case,
    Cells,
    Column,
    ConfigError,
    DataRejected,
    Drawing,
    EvaluationFailed,
    Figure,
    Findings,
    FrameContext,
    Geometry,
    Judge,
    Judged,
    Objective,
    TaskFailed,
    Tensors,
    TensorSpec,
)
from edgeai_tasks.regress.choosing import check_wish, chosen
from edgeai_tasks.regress.figures import Measured
from edgeai_tasks.regress.options import RegressOptions, Value
from edgeai_tasks.regress.pictures import Named, drawings, worst_cases
from edgeai_tasks.regress.task import KIND, Regress, output_of
from edgeai_tasks.regress.truth import COLUMNS, SIDES, TrueValues, moved, place_of_row
from edgeai_tasks.sizes import PIXELS, size_of

_OVERALL: Final = ("within", "stated")
"""Figures that values of several units have together."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a model said of one image: each value in its unit, whether it is stated, and its interval or ``None``."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    present: tuple[bool, ...]
    intervals: tuple[tuple[float, float] | None, ...]


class RegressJudge(Judge):
    """See ``Judge``. A table has a column for each value, in its unit; and may say where it is measured."""

    moves_by_truth = True

    def __init__(self, options: RegressOptions, task: Regress, outputs: tuple[TensorSpec, ...]) -> None:
        self._options, self._values, self._task = options, options.values, task
        self._output = output_of(options, outputs)
        self.labels = tuple(value.name for value in self._values)
        self._keys = ("value",) if len(self._values) == 1 else self.labels
        values = (
            Column(name=key, help=f"column of the true {value.name}, in {value.unit}")
            for key, value in zip(self._keys, self._values, strict=True)
        )
        self._boxed = not set(SIDES) & set(self._keys)  # a value that is called like a side has the column
        self.columns = (*values, *(COLUMNS if self._boxed else ()))
        self.main = ("mae",) if len(self._values) == 1 else ("within",)
        self.objective = Objective(loss=options.loss, formula=_huber if options.loss == "huber" else None)

    def read(self, cells: Cells) -> TrueValues | None:
        """Each value's number; of several, all have to be told."""
        given = [key for key in self._keys if cells.has(key)]
        if not given:
            return None
        if missing := [key for key in self._keys if key not in given]:
            raise cells.wrong(f"no column is named for {missing[0]}", code="data.value-invalid")
        return TrueValues(
            tuple(self._number(cells, key, value) for key, value in zip(self._keys, self._values, strict=True)),
            place_of_row(cells) if self._boxed else (),
        )

    def _number(self, cells: Cells, key: str, value: Value) -> float:
        number = cells.number(key)
        if not value.is_plausible(number):
            raise cells.wrong(
                f"{cells.columns(key)[0]} is {number:g}, and {value.name} is plausible from {value.low:g} to "
                f"{value.high:g} {value.unit}",
                code="data.value-invalid",
                remedy="correct the cell, its unit, or low and high of the value in the card",
            )
        return number

    def digest(self, truth: TrueValues) -> bytes:
        """The numbers, each with all its digits, and the place where there is one."""
        return "|".join(map(repr, (*truth.values, *truth.place))).encode()

    def targets(self, case: Case) -> Tensors:
        """(values,): what the network is to answer, in pixels where it answers in pixels."""
        if self._output.dtype != "float32":
            raise ConfigError(
                f"output {self._output.name!r} is {self._output.dtype}; the task's targets are float32",
                code="build.no-target",
                remedy="train a model whose output is float32",
            )
        try:
            factors = [self._task.factor(value, case.context.frame) for value in self._values]
        except TaskFailed as error:
            raise DataRejected(f"{case.id}: {error}", code="data.target-missing", remedy=error.remedy) from error
        each = zip(self._values, case.truth.values, factors, strict=True)
        targets = [(true / factor - value.offset) / value.scale for value, true, factor in each]
        return {self._output.name: np.array(targets, np.float32)}

    def stratum(self, case: Case) -> Hashable:
        """Between which of its sizes each value is; nothing where none has sizes."""
        each = zip(self._values, case.truth.values, strict=True)
        sizes = [self._size(value, true) for value, true in each if value.sizes]
        return ", ".join(sizes) if sizes else 0

    def subgroups(self, case: Case) -> Mapping[str, str]:
        """By each value that has sizes."""
        names = ("size",) if len(self._values) == 1 else tuple(f"size of {name}" for name in self.labels)
        each = zip(names, self._values, case.truth.values, strict=True)
        return {name: self._size(value, true) for name, value, true in each if value.sizes}

    @staticmethod
    def _size(value: Value, number: float) -> str:
        return size_of(number, value.sizes, value.unit)

    def answer(self, findings: Findings, outputs: Tensors, context: FrameContext) -> Stated:
        """The numbers, those that are not plausible too."""
        measured = [finding for finding in findings if finding.kind == KIND and finding.measurements]
        if not measured:
            raise EvaluationFailed("the task's findings are no values", code="evaluate.no-findings")
        numbers = [finding.measurements[0] for finding in measured]
        return Stated(
            names=tuple(finding.label for finding in measured),
            values=tuple(number.value for number in numbers),
            present=tuple(finding.present for finding in measured),
            intervals=tuple(number.interval for number in numbers),
        )

    def alike(self, one: Stated, other: Stated) -> bool:
        """The same values are stated, and none differs by more than leads to the same decision."""
        for answer in (one, other):
            self._hold(answer)
        pairs = zip(self._values, one.present, other.present, one.values, other.values, strict=True)
        return all(p == q and (not p or abs(mine - its) <= value.same) for value, p, q, mine, its in pairs)

    def assessed(self, case: Case, answer: Stated) -> Assessed:
        """Right where each value is as near as leads to the same decision; withheld where one is not plausible."""
        self._hold(answer)
        each = zip(self._values, case.truth.values, answer.values, strict=True)
        stated = all(answer.present)
        near = all(abs(number - true) <= value.same for value, true, number in each)
        return Assessed(right=stated and near, withheld=not stated)

    def moved(self, truth: TrueValues, geometry: Geometry, extent: tuple[int, int]) -> TrueValues | None:
        """See ``truth``; nobody can say it of what is measured in pixels."""
        return None if any(value.unit == PIXELS for value in self._values) else moved(truth, geometry, extent)

    def judged(self, cases: Sequence[Case], answers: Sequence[Stated]) -> Judged:
        """Figures of each value; of several by their names, and shares of all of them together."""
        measured = self._measured(cases, answers)
        if len(measured) == 1:
            return Judged(figures=measured[0].figures(), point=lambda name: _point(measured[0], name))
        each = [one.figures() for one in measured]
        named = (
            replace(figure, name=f"{figure.name} {one.name}")
            for one, figures in zip(measured, each, strict=True)
            for figure in figures
        )
        return Judged(figures=(*(_together(name, each) for name in _OVERALL), *named))

    def choose(self, cases: Sequence[Case], outputs: Sequence[Tensors], wish: Mapping[str, Any]) -> Mapping[str, Any]:
        """``intervals``; see the README."""
        check_wish(self._values, wish)
        given = zip(cases, outputs, strict=True)
        answers = [self.answer(self._task.interpret(each, case.context), each, case.context) for case, each in given]
        return chosen(self._values, self._measured(cases, answers), wish)

    def pictures(
        self, cases: Sequence[Case], answers: Mapping[str, Sequence[Stated]], ships: Collection[str]
    ) -> Sequence[Drawing]:
        """All against what is true; of what ships Bland and Altman's plot, and the worst cases."""
        models = [Named(name=name, measured=self._measured(cases, each)) for name, each in answers.items()]
        shipped = [model for model in models if model.name in ships]
        return [*drawings(models, shipped), *(worst_cases(model, cases) for model in shipped)]

    def _hold(self, answer: Stated) -> None:
        if answer.names != self.labels:
            raise EvaluationFailed(
                f"one speaks of {', '.join(self.labels)}, the other of {', '.join(answer.names)}",
                code="evaluate.other-labels",
                remedy="compare models of one task with the same values",
            )

    def _measured(self, cases: Sequence[Case], answers: Sequence[Stated]) -> list[Measured]:
        for answer in answers:
            self._hold(answer)
        return [self._of_value(number, value, cases, answers) for number, value in enumerate(self._values)]

    @staticmethod
    def _of_value(number: int, value: Value, cases: Sequence[Case], answers: Sequence[Stated]) -> Measured:
        bounds = [answer.intervals[number] or (math.nan, math.nan) for answer in answers]
        return Measured(
            name=value.name,
            unit="px" if value.unit == PIXELS else value.unit,
            same=value.same,
            truth=np.array([case.truth.values[number] for case in cases], np.float64),
            answers=np.array([answer.values[number] for answer in answers], np.float64),
            stated=np.array([answer.present[number] for answer in answers], bool),
            low=np.array([low for low, _ in bounds], np.float64),
            high=np.array([high for _, high in bounds], np.float64),
        )


def _huber(ops: Any, truth: Any, answer: Any) -> Any:
    """Huber 1964, of each sample: quadratic up to an error of 1."""
    off = ops.abs(truth - answer)
    return ops.mean(ops.where(off < 1.0, 0.5 * off * off, off - 0.5), axis=-1)


def _together(name: str, each: Sequence[Sequence[Figure]]) -> Figure:
    """The mean of a share over all values."""
    parts = [figure for figures in each for figure in figures if figure.name == name]
    return Figure(
        name=name,
        value=lambda: float(np.mean([part.value() for part in parts])),
        over=lambda weights: np.mean([part.over(weights) for part in parts], axis=0),
        parts=tuple(share for part in parts for share in part.parts),  # type: ignore[arg-type]
    )


def _point(measured: Measured, name: str) -> Figure | None:
    """``within@2``: the share that is off by no more than that."""
    word, _, bound = name.partition("@")
    try:
        distance = float(bound)
    except ValueError:
        return None
    return measured.within(distance, name) if word == "within" and 0 <= distance < math.inf else None
