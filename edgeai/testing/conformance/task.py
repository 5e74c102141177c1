"""What the host relies on in a task: it says something true of the outputs, or why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from edgeai.api import (
    AbstainingTask,
    Array,
    Finding,
    Findings,
    FrameContext,
    GuardFigure,
    GuessRequest,
    Heat,
    Indeterminate,
    NoStatement,
    NotApplicable,
    Options,
    Task,
    TaskFailed,
    TaskRequest,
    TaskSpec,
    TensorMismatch,
    TensorSpec,
)
from edgeai.api.errors import is_code
from edgeai.owners import ENDS_BY, is_of_plugins
from edgeai.testing.conformance.places import WAYS, assert_same_place, blobs, seen
from edgeai.testing.conformance.suite import Suite, assert_refused, needs, since
from edgeai.testing.examples import example_frame, instance_ref, sample_tensors

_OUTPUTS = "outputs, the model's output tensors, and options that go with them"
_REFUSED = (TaskFailed, TensorMismatch)


class TaskConformance(Suite):
    """Subclass it once for each task.

    Attributes:
        task: ``TaskSpec.name``.
        options: options that make sense with ``outputs``.
        outputs: the model's output tensors, as a manifest declares them.
        nonsense: sets of options that ``build`` must refuse as ``TaskFailed``.
        wrong_outputs: declarations of outputs that ``build`` must refuse as ``TaskFailed``.
    """

    kind: ClassVar[str] = "task"
    task: ClassVar[str] = ""
    options: ClassVar[Options] = {}
    outputs: ClassVar[tuple[TensorSpec, ...]] = ()
    nonsense: ClassVar[Sequence[Options]] = ()
    wrong_outputs: ClassVar[Sequence[tuple[TensorSpec, ...]]] = ()

    def example_outputs(self, seed: int) -> dict[str, Array]:
        """Outputs as a model would give them; by default uniform between 0 and 1. Fresh arrays each time."""
        return sample_tensors(self.outputs, seed=seed)

    def placed_outputs(self) -> dict[str, Array]:
        """Outputs with something to find amid the picture, for tasks that say where. Fresh arrays each time.

        By default ``example_outputs``, with a blob in each plane of those that are planes (``layout`` NHWC, NCHW).
        """
        return blobs(self.outputs, self.example_outputs(0))

    def unstated_outputs(self) -> dict[str, Array] | None:
        """Outputs of a frame, or of an instance of one, of which the task makes no statement; ``None``: it has none."""
        return None

    def context(self, number: int = 1) -> FrameContext:
        """The frame that the outputs are of."""
        return FrameContext(frame=example_frame(number=number), instance=instance_ref(number_of_frames=9))

    @property
    def spec(self) -> TaskSpec:
        """The spec under test."""
        spec: TaskSpec = self.any_spec()
        return spec

    @pytest.fixture
    def built(self) -> Task:
        """The task, built of ``options`` and ``outputs``."""
        if not self.outputs:
            needs(_OUTPUTS)
        return self.spec.build(TaskRequest(options=self.options, outputs=self.outputs))

    @since(1, 0)
    def test_finds_something_to_say(self, built: Task) -> None:
        """Outputs that are numbers give findings: a tuple, never an empty one."""
        for seed in range(5):
            _assert_findings(built.interpret(self.example_outputs(seed), self.context()))

    @since(1, 0)
    def test_findings_carry_the_frame_number(self, built: Task) -> None:
        """Each finding of a frame says which frame it is of."""
        for number in (1, 7):
            findings = built.interpret(self.example_outputs(0), self.context(number))
            assert {finding.frame_number for finding in findings} == {number}

    @since(1, 0)
    @pytest.mark.parametrize("way", WAYS)
    def test_lands_on_the_same_source_pixels(self, built: Task, way: str) -> None:
        """The same outputs lie on the same pixels of the source, through any crop and scale."""
        outputs = self.placed_outputs()
        plain = built.interpret(outputs, seen())
        if all(finding.region is None and finding.heat is None for finding in plain):
            pytest.skip("its findings have no place in the image")
        regions = [finding.region for finding in plain if finding.region is not None]
        assert not regions or any(region.box for region in regions), (
            "nothing was found in placed_outputs(): give outputs with something in the middle"
        )
        moved = built.interpret(self.placed_outputs(), seen(WAYS[way]))
        assert len(moved) == len(plain)
        for got, want in zip(moved, plain, strict=True):
            assert_same_place(got, want, WAYS[way])

    @since(1, 1)
    def test_prints_nothing(self, silence: Callable[[], AbstractContextManager[None]]) -> None:
        """Building, interpreting and summarising write nothing to standard output."""
        if not self.outputs:
            needs(_OUTPUTS)
        with silence():
            task = self.spec.build(TaskRequest(options=self.options, outputs=self.outputs))
            frame = task.interpret(self.example_outputs(0), self.context())
            task.summarise([frame], instance_ref())

    @since(1, 0)
    def test_same_outputs_same_findings(self, built: Task) -> None:
        """Pure: the same outputs give the same findings, whatever came between."""
        first = built.interpret(self.example_outputs(0), self.context())
        built.interpret(self.example_outputs(1), self.context(2))
        assert built.interpret(self.example_outputs(0), self.context()) == first

    @since(1, 0)
    def test_leaves_the_outputs_alone(self, built: Task) -> None:
        """The arrays that were given are not written to, and may be read-only."""
        outputs = self.example_outputs(0)
        before = {name: array.tobytes() for name, array in outputs.items()}
        for array in outputs.values():
            array.flags.writeable = False
        built.interpret(outputs, self.context())
        assert {name: array.tobytes() for name, array in outputs.items()} == before

    @since(1, 0)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("all_of_it", [True, False])
    def test_refuses_what_is_not_a_number(self, built: Task, value: float, all_of_it: bool) -> None:
        """NaN or infinity anywhere in the outputs is TaskFailed: it never reads as a negative."""
        floats = [spec.name for spec in self.outputs if spec.dtype.startswith("float")]
        if not floats:
            pytest.skip("no output is of floats")
        for name in floats:
            outputs = self.example_outputs(0)
            outputs[name].reshape(-1)[slice(None) if all_of_it else -1] = value
            with pytest.raises(TaskFailed):
                built.interpret(outputs, self.context())

    @since(1, 0)
    @pytest.mark.parametrize("what", ["missing", "surplus", "renamed", "rank", "extent"])
    def test_refuses_other_outputs(self, built: Task, what: str) -> None:
        """Outputs that are not those declared are refused."""
        with pytest.raises(_REFUSED):
            built.interpret(_wrong(self.outputs[0], self.example_outputs(0), what), self.context())

    @since(1, 0)
    def test_summary_of_one_frame(self, built: Task) -> None:
        """The summary of one frame says something."""
        frame = built.interpret(self.example_outputs(0), self.context())
        _assert_findings(built.summarise([frame], instance_ref()))

    @since(1, 0)
    def test_summary_is_repeatable(self, built: Task) -> None:
        """The same frames give the same summary."""
        frames = self._frames(built)
        first = built.summarise(frames, instance_ref(number_of_frames=9))
        _assert_findings(first)
        assert built.summarise(list(frames), instance_ref(number_of_frames=9)) == first

    @since(1, 0)
    def test_summary_of_nothing_is_refused(self, built: Task) -> None:
        """Without frames there is no summary: TaskFailed, not silence."""
        with pytest.raises(TaskFailed):
            built.summarise([], instance_ref())

    @since(1, 4)
    def test_ends_without_a_statement(self, built: Task) -> None:
        """What it makes no statement of ends so each time alike, with a code and figures, and not the next frame."""
        outputs = self.unstated_outputs()
        if outputs is None:
            pytest.skip("it makes a statement of all outputs that it can read")
        endings = [self._ending(built, outputs) for _ in range(2)]
        assert str(endings[0]) == str(endings[1])
        for ending in endings:
            assert type(ending) in (NotApplicable, Indeterminate), f"{type(ending).__name__} says not which of the two"
            assert is_code(ending.code), f"{ending.code!r} is no <area>.<what>"
            assert is_of_plugins(ending.code, ENDS_BY), f"{ending.code!r} is of an area that is edgeai's own"
            assert ending.figures == endings[0].figures
            for figure in ending.figures:
                assert isinstance(figure, GuardFigure)
                assert np.isfinite([figure.value, figure.threshold or 0.0]).all()
        _assert_findings(built.interpret(self.example_outputs(0), self.context()))

    def _ending(self, built: Task, outputs: dict[str, Array]) -> NoStatement:
        try:
            built.summarise([built.interpret(outputs, self.context())], instance_ref())
        except NoStatement as ending:
            return ending
        pytest.fail("it makes a statement of unstated_outputs()", pytrace=False)

    @since(1, 4)
    def test_says_what_else_it_could_have_answered(self, built: Task) -> None:
        """Answers that exclude one another are two at least, as strange each time, and one of them is stated."""
        if getattr(built, "alternatives", None) is None:
            pytest.skip("it does not say what else it could have answered")
        asking = cast("AbstainingTask", built)
        for seed in range(5):
            findings = built.interpret(self.example_outputs(seed), self.context())
            try:
                given = asking.alternatives(findings)
            except TaskFailed as error:
                if error.code != "task.options":
                    raise
                pytest.skip("its answers do not exclude one another")
            assert asking.alternatives(findings) == given
            assert len(given.strangeness) > 1
            assert given.stated in ("", *given.strangeness)
            assert all(np.isfinite(strange) and strange >= 0 for strange in given.strangeness.values())
            whole = tuple(each for each in built.summarise([findings], instance_ref()) if each.frame_number is None)
            if whole:
                assert asking.alternatives(whole).strangeness.keys() == given.strangeness.keys(), "other answers of all"

    @since(1, 0)
    def test_threads_may_share_it(self, built: Task) -> None:
        """Eight threads with one task get what one thread gets."""
        wanted = [built.interpret(self.example_outputs(seed), self.context()) for seed in range(8)]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda seed: built.interpret(self.example_outputs(seed), self.context()), range(8)))
        assert got == wanted

    @since(1, 0)
    def test_refuses_nonsense_options(self) -> None:
        """Options that make no sense are TaskFailed when the task is built, not when it runs."""
        if not self.nonsense:
            needs("nonsense, sets of options that make no sense")
        for options in self.nonsense:
            request = TaskRequest(options=options, outputs=self.outputs)
            assert_refused(TaskFailed, partial(self.spec.build, request), f"{options!r}")

    @since(1, 0)
    def test_refuses_outputs_it_cannot_read(self) -> None:
        """Declared outputs that do not fit the options are TaskFailed when the task is built."""
        if not self.wrong_outputs:
            needs("wrong_outputs, declarations of outputs that it cannot read")
        for outputs in self.wrong_outputs:
            request = TaskRequest(options=self.options, outputs=outputs)
            assert_refused(TaskFailed, partial(self.spec.build, request), f"{outputs!r}")

    @since(1, 0)
    def test_refuses_unknown_options(self) -> None:
        """An option that the spec does not list is refused: what is signed is never half understood."""
        with pytest.raises(TaskFailed):
            self.spec.build(TaskRequest(options={**self.options, "no_such_option": 1}, outputs=self.outputs))

    @since(1, 0)
    def test_refuses_options_of_another_type(self) -> None:
        """An option of a strange type is refused or understood; it is never a fault."""
        for option in self.spec.options:
            for strange in (object(), -1, "strange", [], {}):
                request = TaskRequest(options={**self.options, option.name: strange}, outputs=self.outputs)
                with suppress(TaskFailed):
                    self.spec.build(request)

    @since(1, 3)
    @pytest.mark.parametrize("activation", ["", "none", "softmax", "sigmoid"])
    def test_guesses_what_it_can_build(self, activation: str) -> None:
        """What it guesses of an output, the same each time, are options that it is built with; or TaskFailed."""
        if self.spec.guess is None:
            pytest.skip("it does not say how it reads a model that no card describes")
        if not self.outputs:
            needs(_OUTPUTS)
        for output in self.outputs:
            request = GuessRequest(
                output=output,
                labels=lambda count: tuple(f"label-{number}" for number in range(count)),
                activation=activation,
                several=len(self.outputs) > 1,
                answers=[self.example_outputs(seed)[output.name] for seed in range(3)],
            )
            with suppress(TaskFailed):
                guess = self.spec.guess(request)
                assert self.spec.guess(request) == guess
                assert guess.settled, "the answers are there"
                _assert_built(self.spec, TaskRequest(options=guess.options, outputs=self.outputs))

    def _frames(self, built: Task) -> list[Findings]:
        return [built.interpret(self.example_outputs(seed), self.context(seed + 1)) for seed in range(9)]


def _assert_built(spec: TaskSpec, request: TaskRequest) -> None:
    try:
        spec.build(request)
    except TaskFailed as error:
        pytest.fail(f"it guessed {request.options!r}, of which it cannot be built: {error}", pytrace=False)


def _wrong(spec: TensorSpec, outputs: dict[str, Array], what: str) -> dict[str, Any]:
    array = outputs[spec.name]
    match what:
        case "missing":
            return {name: other for name, other in outputs.items() if name != spec.name}
        case "surplus":
            return {**outputs, "no_such_tensor": array}
        case "renamed":
            return {**{name: other for name, other in outputs.items() if name != spec.name}, "renamed": array}
        case "rank":
            return {**outputs, spec.name: array.reshape(*array.shape, 1, 1)}
        case _:
            return {**outputs, spec.name: np.concatenate([array, array], axis=-1)}


def _assert_findings(findings: Findings) -> None:
    assert isinstance(findings, tuple)
    assert findings, "no findings: an empty tuple reads as a negative"
    for finding in findings:
        assert isinstance(finding, Finding)
        assert finding.kind
        assert finding.label
        assert finding == replace(finding)
        for share in (finding.probability, finding.threshold):
            assert share is None or 0.0 <= share <= 1.0, f"{finding.label}: {share} is not between 0 and 1"
        assert finding.probability is None or type(finding.probability) is float, "a numpy number is not JSON"
        assert type(finding.present) is bool
        for note in finding.notes:
            assert is_code(note.code), f"{note.code!r} is no <area>.<what>"
            assert note.text
        if finding.heat is not None:
            _assert_heat(finding.heat)


def _assert_heat(heat: Heat) -> None:
    assert heat.name
    cells = np.array(heat.values)  # rows of unequal length make none
    assert cells.ndim == 2
    assert cells.size, "heat without a cell"
    assert np.isfinite(cells).all()
    assert cells.min() >= 0.0
    assert {type(value) for row in heat.values for value in row} == {float}, "a numpy number is not JSON"
    assert heat.box[0] < heat.box[2], f"the box {heat.box} ends before it begins"
    assert heat.box[1] < heat.box[3], f"the box {heat.box} ends before it begins"
