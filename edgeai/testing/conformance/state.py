"""Nothing of one image is left for the next: not in a run, not in a stream, not where one comes between the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import Device, ModelRejected, Session, Tensors, check_tensors
from edgeai.testing.conformance.session import SessionRules, assert_close, copy_of
from edgeai.testing.conformance.suite import needs, since
from edgeai.testing.examples import ArtifactExample

_SAMPLES = 4
"""The golden inputs, and others until there are four."""


class StateRules(SessionRules):
    """A session's answer is a function of its input alone; ``SessionRules`` has the rest that holds of a session."""

    def stateful(self, folder: Path) -> ArtifactExample:
        """Write (or point at) an artifact whose own answer depends on what it was asked before.

        Its golden vectors, where it has some, are what it answers when it is asked nothing else.
        """
        needs("stateful(folder), an artifact that keeps state between images")

    @pytest.fixture
    def stateful_example(self, tmp_path_factory: pytest.TempPathFactory) -> ArtifactExample:
        """The artifact that keeps state, made once for the class."""
        return self.once("stateful", lambda: self.stateful(tmp_path_factory.mktemp(f"{self.backend}-stateful")))

    @since(1, 1)
    def test_runs_leave_nothing_behind(self, example: ArtifactExample, opened: Session) -> None:
        """Run gives the same answer, to the last bit, in whatever order inputs come: A, B, A gives A's again."""
        _hold_runs(example, opened)

    @since(1, 1)
    def test_streams_leave_nothing_behind(self, example: ArtifactExample, opened: Session) -> None:
        """Stream gives each input's own answer, whatever went before it in this stream or an earlier one."""
        _hold_streams(example, opened)

    @since(1, 1)
    def test_runs_and_streams_leave_each_other_nothing(self, example: ArtifactExample, opened: Session) -> None:
        """A run between two answers of a stream changes neither the stream's answers nor its own."""
        _hold_interleaved(example, opened)

    @since(1, 1)
    def test_state_of_an_artifact_is_not_kept(
        self, stateful_example: ArtifactExample, present: tuple[Device, ...]
    ) -> None:
        """An artifact that keeps state is ``backend.stateful`` when it is opened; or each run and stream resets it."""
        for device in present:
            try:
                session = self.open(stateful_example, device.name)
            except ModelRejected as error:
                if error.code == "backend.stateful":
                    continue
                raise
            _hold_runs(stateful_example, session)
            _hold_streams(stateful_example, session)
            _hold_interleaved(stateful_example, session)
            for inputs, wanted in stateful_example.golden:
                assert_close(session.run(inputs), wanted, stateful_example.tolerance)
            session.close()


def _samples(example: ArtifactExample) -> list[Tensors]:
    return [example.sample(number) for number in range(_SAMPLES)]


def _hold_runs(example: ArtifactExample, session: Session) -> None:
    samples = _samples(example)
    first = [copy_of(session.run(sample)) for sample in samples]
    there_and_back = [*range(_SAMPLES), *reversed(range(_SAMPLES)), 0, 0, 1, 0, 2, 0, 3, 0]
    for number in there_and_back:
        assert_close(session.run(samples[number]), first[number], example.repeat_tolerance)


def _hold_streams(example: ArtifactExample, session: Session) -> None:
    samples = _samples(example)
    alone = [copy_of(session.run(sample)) for sample in samples]
    order = [0, 1, 0, 2, 0, 3, 0, 0, 1, 1, 0]
    first = _streamed(session, samples, order)
    for number, answer in zip(order, first, strict=True):
        check_tensors(example.outputs, answer, what="output")
        assert_close(answer, alone[number], _of_streams(example))
    _streamed(session, samples, list(reversed(order[1:])))  # leaves off at another input than the first began with
    for answer, before in zip(_streamed(session, samples, order), first, strict=True):
        assert_close(answer, before, example.repeat_tolerance)


def _hold_interleaved(example: ArtifactExample, session: Session) -> None:
    samples = _samples(example)
    alone = [copy_of(session.run(sample)) for sample in samples]
    order = [0, 1, 2, 0, 3, 0, 1, 0]
    between = [1, 0, 3, 2, 1, 1, 0, 3]
    undisturbed = _streamed(session, samples, order)
    stream = session.stream(iter([samples[number] for number in order]))
    for place, number in enumerate(between):
        assert_close(next(stream), undisturbed[place], example.repeat_tolerance)
        assert_close(session.run(samples[number]), alone[number], example.repeat_tolerance)
    assert next(stream, None) is None


def _streamed(session: Session, samples: list[Tensors], order: list[int]) -> list[Tensors]:
    def inputs() -> Iterator[Tensors]:
        for number in order:
            yield {name: np.array(array) for name, array in samples[number].items()}

    answers: list[Tensors] = [copy_of(answer) for answer in session.stream(inputs())]
    assert len(answers) == len(order)
    return answers


def _of_streams(example: ArtifactExample) -> float:
    """Many inputs may run on a model that was compiled for many, which adds in another order than that for one."""
    return max(example.repeat_tolerance, 1e-6)
