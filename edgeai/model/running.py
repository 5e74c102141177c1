"""A bundle, open on an engine: from a DICOM file to a Result that never looks like a negative by accident."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from edgeai.api.errors import EdgeaiError, InferenceFailed, InputRejected, TensorMismatch
from edgeai.api.imaging import Frame, Geometry, InstanceRef
from edgeai.api.results import Degradation, EngineRef, Findings, ModelRef, Result
from edgeai.api.specs import FrameContext, Session, Task
from edgeai.api.tensors import Array, Tensors, check_tensors
from edgeai.bundle.reader import Bundle
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.guards.faults import Feed
from edgeai.model.ahead import in_turn
from edgeai.model.golden import GoldenAnswer, load_inputs, rehearse
from edgeai.model.kept_threads import Threads
from edgeai.model.opening import OpenEngine
from edgeai.model.progress import Run
from edgeai.model.results import Stopwatch, ref_of
from edgeai.model.steps import Breadcrumb, RunStep, Step
from edgeai.model.threads import SingleFrames
from edgeai.pipeline import Pipeline
from edgeai.selection import Choice

_DEPTH: Final = 8
"""Frames prepared ahead of the engine: enough to ride out one slow frame, little to hold in memory."""
_MOST_DECODERS: Final = 4
_DECODE: Final = Step("decode")
_INTERPRET: Final = Step("interpret")


class Model:
    """What ``open_model`` gives. One thread at a time may run it; use it as a context manager, or ``close`` it.

    Attributes:
        bundle: what it is.
        engine: what computes it here.
        degraded: what was wished for and not taken, with the reasons; ``None`` when the wish was met.
        choice: every candidate, and why not.
        failed_step: where the last run failed, known for certain; ``None`` when it did not.
    """

    def __init__(
        self, bundle: Bundle, opened: OpenEngine, pipeline: Pipeline, task: Task, *, breadcrumb: Breadcrumb
    ) -> None:
        self.bundle = bundle
        self.engine: EngineRef = opened.engine
        self.degraded: Degradation | None = opened.degraded
        self.choice: Choice = opened.choice
        self.failed_step: RunStep | None = None
        self._session: Session = opened.session
        self._run_step = Step("run", opened.provider)
        self._pipeline = pipeline
        self._task = task
        self._breadcrumb = breadcrumb
        self._outputs = bundle.manifest.output_specs()
        self._model = ref_of(bundle)

    def run_file(
        self, path: Path | str, *, deployment: str = "", header: Header | None = None, overlap: bool = True
    ) -> Result:
        """One instance, from its file. Whatever is wrong with it is in the Result, not raised.

        Args:
            path: a DICOM file (PS3.10).
            deployment: part of the result's identity.
            header: what ``read_header`` gave for this file, if it was read already.
            overlap: work on frames ahead of the engine. Without, one thing happens at a time, so that a
                breadcrumb names for certain what a process died of.
        """
        path = Path(path)
        run = Run(self, Stopwatch(), deployment, fallback=path.absolute().as_uri())

        def work() -> Findings:
            with run.at("header"):
                found = header or _header_of(path)
            run.admit(found.instance, found)
            numbers = self.bundle.manifest.frames.numbers(found.instance.number_of_frames)
            if not overlap or len(numbers) == 1:
                with closing(_frames_of(path, found, self._decode_options(numbers))) as frames:
                    return self._one_by_one(islice(frames, len(numbers)), run, settles=overlap)
            count = _decoders(found, len(numbers))
            shares = [self._decode_options(numbers[first::count]) for first in range(count)]
            return self._stream([_frames_of(path, found, share) for share in shares], run)

        return self._ended(run, work)

    def run(self, frames: Iterable[Frame], instance: InstanceRef, *, deployment: str = "") -> Result:
        """One instance whose frames are already decoded (or come from a generator). Never raises, as ``run_file``."""
        run = Run(self, Stopwatch(), deployment, fallback="")

        def work() -> Findings:
            run.admit(instance)
            if isinstance(frames, Sequence) and len(frames) <= 1:
                return self._one_by_one(iter(frames), run, settles=True)
            return self._stream([frames], run)

        return self._ended(run, work)

    def _ended(self, run: Run, work: Callable[[], Findings]) -> Result:
        result = run.result(work)
        self.failed_step = run.failed_step
        return result

    def rehearse(self) -> tuple[GoldenAnswer, ...]:
        """Run the bundle's golden cases here, on this engine; ``()`` when it has none.

        Raises:
            InferenceFailed: ``backend.golden-mismatch``, an answer outside its tolerance; ``backend.stateful``, two
                answers to one case that are not the same.
            BackendError: the engine failed.
            TensorMismatch: outputs that are not those declared.
        """
        with self._breadcrumb(self._run_step):
            return rehearse(self.bundle, self.engine.artifact, self.infer)

    def prove(self) -> None:
        """Answer as an engine must that is to be trusted again: the golden cases, or a blank plane where there is none.

        One by one, and then as a stream of several.

        Raises:
            EdgeaiError: what went wrong, as ``rehearse``.
        """
        self.rehearse()
        asked = load_inputs(self.bundle) if self.bundle.manifest.golden else (self._blank(),)
        with self._breadcrumb(self._run_step):
            for inputs in asked:
                self.infer(inputs)
            with _ended(self._session.stream([*asked, *asked])) as answers:
                answered = sum(1 for outputs in answers if self._checked(outputs))
        if answered != 2 * len(asked):
            raise _miscounted("more" if answered > 2 * len(asked) else "fewer")

    def _blank(self) -> Tensors:
        """Zeros as the model takes them; sides that it leaves open are 64."""
        spec = self._pipeline.input
        shape = [
            1 if extent is None and axis == "N" else extent or 64
            for axis, extent in zip(spec.layout, spec.shape, strict=True)
        ]
        return {spec.name: np.zeros(shape, spec.dtype)}

    def warm_up(self) -> None:
        """Send a blank plane through the transforms, so that the first image does not wait for their libraries.

        What a transform says of a blank plane does not matter here: it will say it of a real one.
        """
        blank = np.zeros((64, 64), np.uint8)
        instance = InstanceRef(sop_class_uid="", sop_instance_uid="", rows=64, columns=64)
        frame = Frame(pixels=blank, number=1, geometry=Geometry(source_rows=64, source_columns=64), instance=instance)
        with suppress(EdgeaiError):
            self._pipeline.prepare(frame)

    def close(self) -> None:
        """Free the engine. Twice is fine."""
        self._session.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def reference(self) -> ModelRef:
        """Name, version and digest, as results carry them."""
        return self._model

    def _decode_options(self, numbers: Sequence[int]) -> DecodeOptions:
        """What the decoder may do: the fast paths that the manifest signs, for the input that the model has."""
        fast = frozenset(self.bundle.manifest.pixels.fast)
        sides = dict(zip(self._pipeline.input.layout, self._pipeline.input.shape, strict=True))
        return DecodeOptions(fast=fast, min_rows=sides.get("H") or 0, min_columns=sides.get("W") or 0, frames=numbers)

    @property
    def threads(self) -> Threads | None:
        """On how many threads single frames run, and why; ``None`` where it was given, or is not yet known."""
        return self._session.threads if isinstance(self._session, SingleFrames) else None

    @property
    def pipeline(self) -> Pipeline:
        """The transforms in front of the model, for whoever has the frames and wants the tensors."""
        return self._pipeline

    @property
    def task(self) -> Task:
        """What makes findings of the outputs."""
        return self._task

    def infer(self, inputs: Tensors) -> Tensors:
        """One inference on tensors, its outputs held to what the manifest declares: what ``run`` does for each frame.

        Raises:
            BackendError: the engine failed.
            TensorMismatch: inputs or outputs that are not those declared, or not finite.
        """
        return self._checked(self._session.run(inputs))

    def _checked(self, outputs: Tensors) -> Tensors:
        """Hold a backend to what the manifest declares, so that one that lies ends as a failure with a code.

        Raises:
            TensorMismatch: ``tensor.mismatch``, or ``tensor.not-finite`` for NaN and infinity.
        """
        check_tensors(self._outputs, outputs, what="output")
        for name, array in outputs.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise TensorMismatch(f"output {name!r} holds values that are not finite", code="tensor.not-finite")
        return outputs

    def _one_by_one(self, frames: Iterator[Frame], run: Run, *, settles: bool) -> Findings:
        """Decode, transform and run in turn, on this thread: the way of a single frame.

        With ``settles`` the first also tells on how many threads the next run (``edgeai.model.threads``).
        """
        name = self._pipeline.input.name
        each: list[Findings] = []
        while True:
            with self._breadcrumb(_DECODE):
                ready = self._next(frames, run, run.watch)
            if ready is None:
                return self._summary(each, run)
            run.engine = self.engine
            with self._breadcrumb(self._run_step), run.at("run"):
                outputs = self.infer({name: ready[0]})
            run.frames_run += 1
            if settles and isinstance(self._session, SingleFrames):
                with self._breadcrumb(self._run_step):
                    self._session.settle({name: ready[0]}, outputs)
            each.append(self._interpret(outputs, ready[1], run))

    def _stream(self, shares: Sequence[Iterable[Frame]], run: Run) -> Findings:
        """Many frames, prepared on threads that take them in turn, and fed to the engine as fast as it takes them.

        ``decode`` and ``transform`` are then the sum over the threads, and ``run`` the time that was neither
        spent waiting for frames nor on findings.
        """
        idle, watches = Stopwatch(), [Stopwatch() for _ in shares]
        prepared = [self._prepared(share, run, watch) for share, watch in zip(shares, watches, strict=True)]
        each: list[Findings] = []
        with (
            in_turn(prepared, depth=_DEPTH) as ahead,
            self._breadcrumb(self._run_step),
            closing(self._answers(ahead, run, idle)) as answers,
        ):
            for outputs, seen in answers:
                with idle.stage("findings"):
                    each.append(self._interpret(outputs, seen, run))
        for watch in watches:
            run.watch.include(watch)
        spent = idle.total()
        run.watch.add("run", max(0.0, spent["total"] - spent.get("frames", 0.0) - spent.get("findings", 0.0)) / 1e3)
        return self._summary(each, run)

    def _answers(
        self, ahead: Iterator[tuple[Array, Frame]], run: Run, idle: Stopwatch
    ) -> Generator[tuple[Tensors, Frame], None, None]:
        """What the engine makes of the frames, in order: all that can go wrong in here is its own doing.

        Except what its feed raises. Whatever an engine makes of that (an error of its own, an early end), it is the
        feed's error that is raised here, and it stays laid on the step that it comes from.
        """
        waiting: deque[Frame] = deque()
        fed = Feed(self._feed(ahead, waiting, run, idle))
        try:
            with _ended(self._session.stream(fed)) as answers:
                for outputs in answers:
                    if not waiting:
                        raise _miscounted("more")
                    checked = self._checked(outputs)
                    run.frames_run += 1
                    yield checked, waiting.popleft()
            if fed.error is None and (waiting or next(fed, None) is not None):
                raise _miscounted("fewer")
        except GeneratorExit:
            raise  # the findings failed, and nobody waits for more
        except BaseException as error:
            if fed.error is None:
                run.lay("run", error)
                raise
            raise fed.error from None
        if fed.error is not None:
            raise fed.error

    def _feed(
        self, ahead: Iterator[tuple[Array, Frame]], waiting: deque[Frame], run: Run, idle: Stopwatch
    ) -> Iterator[Tensors]:
        """What the engine takes; the frames of what it has taken and not yet answered are in ``waiting``."""
        name = self._pipeline.input.name
        while True:
            with idle.stage("frames"):
                ready = next(ahead, None)
            if ready is None:
                return
            run.engine = self.engine
            waiting.append(ready[1])
            yield {name: ready[0]}

    def _prepared(self, frames: Iterable[Frame], run: Run, watch: Stopwatch) -> Iterator[tuple[Array, Frame]]:
        """A thread's share of the frames, decoded and transformed."""
        each = iter(frames)
        with self._breadcrumb(_DECODE):
            while (ready := self._next(each, run, watch)) is not None:
                yield ready

    def _next(self, frames: Iterator[Frame], run: Run, watch: Stopwatch) -> tuple[Array, Frame] | None:
        with run.at("decode", watch):
            frame = next(frames, None)
        if frame is None:
            return None
        run.note(*frame.notes)
        with run.at("transform", watch):
            ready = self._pipeline.prepare(frame)
        run.note(*ready[1].notes)
        return ready

    def _interpret(self, outputs: Tensors, seen: Frame, run: Run) -> Findings:
        with self._breadcrumb(_INTERPRET), run.at("interpret"):
            findings = self._task.interpret(outputs, FrameContext(frame=seen, instance=run.known))
        run.place(findings, seen.geometry)
        return findings

    def _summary(self, each: Sequence[Findings], run: Run) -> Findings:
        if not each:
            raise InputRejected("the instance has no frames", code="input.no-frames")
        with self._breadcrumb(_INTERPRET), run.at("summarise"):
            return self._task.summarise(each, run.known)


def _header_of(path: Path) -> Header:
    try:
        return read_header(path)
    except OSError as error:
        raise _unreadable(error) from error


def _frames_of(path: Path, header: Header, options: DecodeOptions) -> Generator[Frame, None, None]:
    try:
        yield from read_frames(path, options, header=header)
    except OSError as error:
        raise _unreadable(error) from error


@contextmanager
def _ended(answers: Iterator[Tensors]) -> Iterator[Iterator[Tensors]]:
    """A session's stream that is over when the context is.

    Otherwise an engine might still be at work on what nobody waits for when the next instance comes. What it says
    when it is stopped half-way does not hide why it was.
    """
    close = getattr(answers, "close", None) or (lambda: None)  # a generator has it; any iterator may be a stream
    try:
        yield answers
    except BaseException:
        with suppress(Exception):
            close()
        raise
    close()


def _decoders(header: Header, frames: int) -> int:
    """How many threads share the frames: decoders let go of the interpreter, so each core can have one.

    A deflated data set can only be read from its beginning; there a second thread would do all of it again.
    """
    if header.pixels is None or header.pixels.syntax.deflated:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), _MOST_DECODERS, frames))


def _unreadable(error: OSError) -> InputRejected:
    return InputRejected(
        f"the file cannot be read: {error.strerror or type(error).__name__}",
        code="input.unreadable",
        remedy="check that the file exists and may be read",
    )


def _miscounted(which: str) -> InferenceFailed:
    return InferenceFailed(f"the backend gave {which} outputs than it took inputs", code="backend.miscounted")
