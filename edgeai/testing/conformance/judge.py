"""What the build host relies on in a judge: figures are functions of weights, decisions agree with themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeai.api import (
    Answer,
    Area,
    Array,
    Assessed,
    AveragePrecision,
    Case,
    ConfigError,
    Curve,
    DataRejected,
    Drawing,
    Figure,
    FigureUndefined,
    FrameContext,
    Geometry,
    Grid,
    Judge,
    Judged,
    NoStatement,
    Options,
    Task,
    TaskRequest,
    TaskSpec,
    Tensors,
    TensorSpec,
)
from edgeai.testing.conformance.suite import Suite, assert_refused, needs, since
from edgeai.testing.examples import example_frame, instance_ref, sample_tensors

Row = Mapping[str, Any]
"""Key of ``Judge.columns`` -> what the table's cell holds: text, a list of texts for several columns, an array for a
picture; a setting as the card says it."""
_CASES = 12


@dataclass(frozen=True, slots=True)
class ExamplePicture:
    """See ``edgeai.api.PictureFile``."""

    pixels: Array
    path: Path = Path("example.png")

    def load(self) -> Array:
        """The pixels, fresh."""
        return self.pixels.copy()


@dataclass(frozen=True, slots=True)
class ExampleCells:
    """See ``edgeai.api.Cells``: a row that an author wrote down."""

    row: Row

    def has(self, name: str) -> bool:
        """Whether the row has it."""
        return name in self.row

    def columns(self, name: str) -> tuple[str, ...]:
        """Columns called as the key is."""
        value = self.row[name]
        return tuple(f"{name}-{n}" for n in range(len(value))) if isinstance(value, list | tuple) else (name,)

    def text(self, name: str) -> str:
        """The cell."""
        return str(self.row[name])

    def number(self, name: str) -> float:
        """The cell, as a finite number."""
        try:
            value = float(self.row[name])
        except (TypeError, ValueError):
            value = float("nan")
        if not np.isfinite(value):
            raise self.wrong(f"{name} is {self.row[name]!r}, not a number", code="data.value-invalid")
        return value

    def flags(self, name: str) -> tuple[bool, ...]:
        """The cells, of 0 and 1."""
        if not all(str(cell) in ("0", "1") for cell in self.row[name]):
            raise self.wrong(f"{name} is {self.row[name]!r}, not 0 or 1", code="data.value-invalid")
        return tuple(str(cell) == "1" for cell in self.row[name])

    def picture(self, name: str) -> ExamplePicture:
        """The array; text names a file that is not there."""
        if isinstance(self.row[name], str):
            raise self.wrong(f"{self.row[name]}: no such file", code="data.file-missing")
        return ExamplePicture(np.asarray(self.row[name]))

    def setting(self, name: str, default: Any = None) -> Any:
        """As it stands."""
        return self.row.get(name, default)

    def wrong(self, what: str, *, code: str, remedy: str | None = None) -> DataRejected:
        """The error."""
        return DataRejected(f"example.csv:2: {what}", code=code, remedy=remedy)


class JudgeConformance(Suite):
    """Subclass it once for each task that brings a judge.

    Attributes:
        task: ``TaskSpec.name``.
        options, outputs: as for ``TaskConformance``.
        rows: rows of a table, of which some say something else than others; they are taken in turn.
        nonsense_rows: rows that ``read`` must refuse as ``DataRejected``.
    """

    kind: ClassVar[str] = "task"
    part: ClassVar[str] = "judge"
    task: ClassVar[str] = ""
    options: ClassVar[Options] = {}
    outputs: ClassVar[tuple[TensorSpec, ...]] = ()
    rows: ClassVar[Sequence[Row]] = ()
    nonsense_rows: ClassVar[Sequence[Row]] = ()

    def example_outputs(self, seed: int) -> dict[str, Array]:
        """Outputs as a model would give them; by default uniform between 0 and 1. Fresh arrays each time."""
        return sample_tensors(self.outputs, seed=seed)

    def context(self) -> FrameContext:
        """The frame that a sample is; rows that hold pictures of it are of the same extent."""
        return FrameContext(frame=example_frame(), instance=instance_ref())

    @property
    def spec(self) -> TaskSpec:
        """The spec under test."""
        spec: TaskSpec = self.any_spec()
        return spec

    @pytest.fixture
    def judge(self) -> Judge:
        """The judge, built of ``options`` and ``outputs``."""
        if self.spec.judge is None:
            pytest.skip("the task brings no judge")
        if not self.rows or not self.outputs:
            needs("rows of a table, and outputs")
        judge = self.spec.judge(TaskRequest(options=self.options, outputs=self.outputs))
        try:
            _values(self.judged(judge))
            judge.pictures(self.cases(judge), {"parent": self.answers(judge)}, [])
        except ConfigError as error:
            if error.code == "build.extra-missing":
                pytest.skip(f"asked on a build host: {error.remedy}")
            raise
        return judge

    def cases(self, judge: Judge) -> list[Case]:
        """As many samples as the rules look at."""
        context = self.context()
        return [
            Case(
                id=f"sample-{n}",
                truth=judge.read(ExampleCells(self.rows[n % len(self.rows)])),
                context=context,
                image=lambda: context.frame.pixels.copy(),
            )
            for n in range(_CASES)
        ]

    def answers(self, judge: Judge, seed: int = 0) -> list[Answer]:
        """What a model that answers at random says of them."""
        task, context = self.spec.build(TaskRequest(options=self.options, outputs=self.outputs)), self.context()
        every = [self.example_outputs(seed * _CASES + n) for n in range(_CASES)]
        return [_answer(judge, task, outputs, context) for outputs in every]

    def judged(self, judge: Judge) -> Judged:
        """Both side by side."""
        return judge.judged(self.cases(judge), self.answers(judge))

    @since(1, 2)
    def test_columns_say_what_stands_there(self, judge: Judge) -> None:
        """Every column has a help text, and no two have one name."""
        names = [column.name for column in judge.columns]
        assert len(set(names)) == len(names)
        assert [column.name for column in judge.columns if not column.help.strip()] == []

    @since(1, 2)
    def test_a_row_that_says_nothing_has_no_truth(self, judge: Judge) -> None:
        """Where the card names no column, nothing is true: ``None``, never a guess."""
        assert judge.read(ExampleCells({})) is None

    @since(1, 2)
    def test_refuses_cells_that_make_no_sense(self, judge: Judge) -> None:
        """A cell that makes no sense is DataRejected, with file and line."""
        if not self.nonsense_rows:
            needs("nonsense_rows, rows that make no sense")
        for row in self.nonsense_rows:
            assert_refused(DataRejected, lambda row=row: judge.read(ExampleCells(row)), f"{row!r}")  # type: ignore[misc]

    @since(1, 2)
    def test_digest_tells_truths_apart(self, judge: Judge) -> None:
        """The same row gives the same digest, and rows that differ give others."""
        digests = [judge.digest(judge.read(ExampleCells(row))) for row in self.rows for _ in range(2)]
        assert all(isinstance(digest, bytes) for digest in digests)
        assert digests[::2] == digests[1::2]
        assert len(set(digests)) == len(self.rows), "rows that differ have the same digest"

    @since(1, 2)
    def test_the_main_figure_is_one_of_its_figures(self, judge: Judge) -> None:
        """Figures have names of their own, and ``main`` names some of them."""
        names = [figure.name for figure in self.judged(judge).figures]
        assert len(set(names)) == len(names)
        assert judge.main
        assert set(judge.main) <= set(names)

    @since(1, 2)
    def test_a_figure_is_a_function_of_weights(self, judge: Judge) -> None:
        """Drawing samples twice by weights gives what the samples give that are there twice."""
        cases, answers = self.cases(judge), self.answers(judge)
        counts = np.random.default_rng(5).integers(1, 4, len(cases))
        more = [n for n, count in enumerate(counts) for _ in range(count)]
        repeated = judge.judged([cases[n] for n in more], [answers[n] for n in more])
        weights = np.stack([np.ones(len(cases)), counts.astype(np.float64)])
        for figure, again in zip(judge.judged(cases, answers).figures, repeated.figures, strict=True):
            over = np.asarray(figure.over(weights))
            assert over.shape == (2,), f"{figure.name}: {over.shape} for two resamples"
            _assert_same(figure.name, over[0], figure)
            _assert_same(figure.name, over[1], again)

    @since(1, 2)
    def test_parts_make_up_their_figure(self, judge: Judge) -> None:
        """The mean of a figure's parts (shares, areas, average precisions) is the figure."""
        for figure in self.judged(judge).figures:
            if figure.parts:
                values = [_of_part(part) for part in figure.parts]
                _assert_same(f"mean of the parts of {figure.name}", float(np.mean(values)), figure)

    @since(1, 2)
    def test_judging_twice_is_judging_once(self, judge: Judge) -> None:
        """Pure: the same cases and answers give the same figures, whatever came between."""
        cases, answers = self.cases(judge), self.answers(judge)
        first = _values(judge.judged(cases, answers))
        judge.judged(cases, self.answers(judge, seed=1))
        assert _values(judge.judged(cases, answers)) == first

    @since(1, 2)
    def test_an_answer_is_the_same_decision_as_itself(self, judge: Judge) -> None:
        """Agreement is complete with itself, and the same whichever of two comes first."""
        one, other = self.answers(judge), self.answers(judge, seed=1)
        for mine, theirs in zip(one, other, strict=True):
            assert judge.alike(mine, mine) is True
            assert judge.alike(mine, theirs) == judge.alike(theirs, mine)

    @since(1, 2)
    def test_a_point_that_it_does_not_know_is_none(self, judge: Judge) -> None:
        """An operating point whose name is not its own is ``None``, never another figure."""
        assert self.judged(judge).point("no@such=point") is None

    @since(1, 2)
    def test_targets_are_outputs(self, judge: Judge) -> None:
        """A target is float32 in the shape of an output, without the batch axis."""
        if judge.objective is None:
            pytest.skip("its models are not trained")
        shapes = {spec.name: spec.shape[1:] for spec in self.outputs}
        for case in self.cases(judge):
            targets = judge.targets(case)
            assert targets
            assert set(targets) <= set(shapes)
            for name, target in targets.items():
                assert target.dtype == np.float32
                assert np.isfinite(target).all()
                assert len(target.shape) == len(shapes[name])
                assert all(want in (None, got) for got, want in zip(target.shape, shapes[name], strict=True))

    @since(1, 2)
    def test_a_formula_is_least_where_the_answer_is_true(self, judge: Judge) -> None:
        """A loss by formula gives a number a sample, and no answer has less than the truth itself."""
        if judge.objective is None or judge.objective.formula is None or judge.objective.from_logits:
            pytest.skip("it has no formula over the answers themselves")
        name = next(iter(judge.targets(self.cases(judge)[0])))
        truth = np.stack([judge.targets(case)[name] for case in self.cases(judge)])
        right = np.asarray(judge.objective.formula(np, truth, truth))
        wrong = np.asarray(judge.objective.formula(np, truth, truth + np.float32(0.5)))
        assert right.shape == (_CASES,)
        assert np.isfinite(right).all()
        assert (right <= wrong).all()

    @since(1, 2)
    def test_strata_and_subgroups_can_be_told(self, judge: Judge) -> None:
        """A stratum is hashable, and subgroups are words."""
        for case in self.cases(judge):
            hash(judge.stratum(case))
            for name, value in judge.subgroups(case).items():
                assert isinstance(name, str)
                assert isinstance(value, str)

    @since(1, 3)
    def test_one_answer_is_assessed_or_never(self, judge: Judge) -> None:
        """Right and withheld exclude one another, confidence is a share; who assesses one answer assesses all."""
        pairs = list(zip(self.cases(judge), self.answers(judge), strict=True))
        each = [judge.assessed(case, answer) for case, answer in pairs]
        if all(one is None for one in each):
            pytest.skip("it knows figures of many answers alone")
        for one in each:
            assert isinstance(one, Assessed)
            assert not (one.right and one.withheld)
            assert one.confidence is None or 0 <= one.confidence <= 1 + 1e-6
        assert each == [judge.assessed(case, answer) for case, answer in pairs]

    @since(1, 3)
    def test_what_is_true_moves_there_and_back(self, judge: Judge) -> None:
        """Upside down twice is as before; and where nothing moves, what is true stays."""
        frame = self.context().frame
        rows, columns = frame.rows, frame.columns
        still = Geometry(source_rows=rows, source_columns=columns)
        over = Geometry(source_rows=rows, source_columns=columns, affine=(-1.0, 0.0, columns, 0.0, -1.0, rows))
        for case in self.cases(judge):
            kept = judge.moved(case.truth, still, (rows, columns))
            once = judge.moved(case.truth, over, (rows, columns))
            if kept is None:
                assert once is None
                continue
            twice = judge.moved(once, over, (rows, columns))
            assert judge.digest(kept) == judge.digest(judge.moved(kept, still, (rows, columns)))
            assert judge.digest(twice) == judge.digest(kept)

    @since(1, 2)
    def test_pictures_can_be_drawn(self, judge: Judge) -> None:
        """What it wants drawn fits together: as many x as y, a text a cell, panels that have marks."""
        answers = {"parent": self.answers(judge), "ships": self.answers(judge, seed=1)}
        for drawing in judge.pictures(self.cases(judge), answers, ["ships"]):
            assert isinstance(drawing, Drawing)
            assert drawing.title
            assert drawing.says
            assert drawing.panels
            for panel in drawing.panels:
                assert panel.marks
                for mark in panel.marks:
                    _assert_drawable(mark)

    @since(1, 2)
    def test_prints_nothing(self, judge: Judge, silence: Callable[[], AbstractContextManager[None]]) -> None:
        """Judging writes nothing to standard output."""
        with silence():
            _values(self.judged(judge))


def _values(judged: Judged) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for figure in judged.figures:
        try:
            values[figure.name] = figure.value()
        except FigureUndefined:
            values[figure.name] = None
    return values


def _assert_same(what: str, value: float, figure: Figure) -> None:
    try:
        wanted = figure.value()
    except FigureUndefined:
        assert np.isnan(value), f"{what}: {value} where value() says that it is undefined"
        return
    np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-9, err_msg=what)


def _of_part(part: Any) -> float:
    if isinstance(part, Area):
        pairs = part.scores[part.truth][:, np.newaxis] - part.scores[~part.truth]
        return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    if isinstance(part, AveragePrecision):
        above = part.scores >= part.scores[part.truth][:, np.newaxis]
        return float(((above & part.truth).sum(axis=1) / above.sum(axis=1)).mean())
    return float(part.hits.sum() / part.among.sum()) if part.among.sum() else float("nan")


def _assert_drawable(mark: Any) -> None:
    if isinstance(mark, Curve):
        assert len(mark.x) == len(mark.y)
    if isinstance(mark, Grid):
        assert np.shape(mark.shades) == (len(mark.rows), len(mark.columns))
        assert [len(row) for row in mark.texts] == [len(mark.columns)] * len(mark.rows)


def _answer(judge: Judge, task: Task, outputs: Tensors, context: FrameContext) -> Answer:
    """What is kept of a frame, be it of one without a statement."""
    try:
        return judge.answer(task.interpret(outputs, context), outputs, context)
    except NoStatement as ending:
        kept = judge.unanswered(ending, outputs, context)
        assert kept is not None, "its task ends frames without a statement, and `unanswered` keeps nothing of them"
        return kept
