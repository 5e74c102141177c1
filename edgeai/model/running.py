"""A bundle, open on an engine: from a DICOM file to a Result that never looks like a negative by accident."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from edgeai.api import Frame, InstanceRef
from edgeai.api.errors import EdgeaiError, InputRejected
from edgeai.api.results import Degradation, EngineRef, Findings, ModelRef, Result
from edgeai.api.specs import Session, Task
from edgeai.api.tensors import Tensors, TensorSpec
from edgeai.bundle.reader import Bundle
from edgeai.dicom.header import Header, read_header
from edgeai.dicom.looking import among_others
from edgeai.dicom.pixels import DecodeOptions, read_frames
from edgeai.model.abstaining import Abstention
from edgeai.model.ahead import in_turn
from edgeai.model.golden import GoldenAnswer, blank_frame, rehearse
from edgeai.model.kept_threads import Threads
from edgeai.model.looks import Ready, each_ready, shown
from edgeai.model.opening import OpenEngine
from edgeai.model.prepared import READABLE, Prepared
from edgeai.model.progress import Run
from edgeai.model.results import Identity, Stopwatch, ref_of
from edgeai.model.steps import INTERPRET, Breadcrumb, RiskyStep, RunStep
from edgeai.model.streams import answers, check_outputs, decoders, prove_streams
from edgeai.model.threads import SingleFrames
from edgeai.model.withheld import Withheld
from edgeai.pipeline import Pipeline
from edgeai.process import keep_freed_memory
from edgeai.selection import Choice

if TYPE_CHECKING:
    from edgeai.model.sharing import SharedFile, SharedFrames

_DEPTH: Final = 8  # frames prepared ahead of the engine: to ride out one slow frame, and hold little in memory
_DECODE: Final = RiskyStep("decode")


class Model:
    """What ``open_model`` gives. One thread at a time may run it; use it as a context manager, or ``close`` it.

    Attributes:
        bundle: what it is.
        engine: what computes it here.
        degraded: what was wished for and not taken, with the reasons; ``None`` when the wish was met.
        choice: every candidate, and why not.
        failed_step: where the last run failed, known for certain; ``None`` when it did not.
        distance: what its answers are held to before they are taken for what they say; ``None`` for nothing.
        abstention: what keeps it from stating what is left open at a risk; ``None`` where nothing does.
        is_stream_proven: whether the engine's stream was seen to give each of several images its own answer.
        run_step: the engine's own step, laid on the engine's plugin.
        sentry: the model that stands before it; ``None`` where none does.
    """

    def __init__(
        self, bundle: Bundle, opened: OpenEngine, pipeline: Pipeline, task: Task, *, breadcrumb: Breadcrumb
    ) -> None:
        keep_freed_memory()
        self.bundle = bundle
        self.engine: EngineRef = opened.engine
        self.degraded: Degradation | None = opened.degraded
        self.choice: Choice = opened.choice
        self.failed_step: RunStep | None = None
        self.is_stream_proven = False
        self.distance = opened.distance
        self._session: Session = opened.session
        self.run_step = RiskyStep("run", opened.provider)
        self.sentry = opened.sentry
        self._pipeline = pipeline
        self._task = task
        self._breadcrumb = breadcrumb
        self._outputs = bundle.manifest.output_specs()
        self._own = tuple(spec.name for spec in bundle.manifest.task_outputs())
        self._model = ref_of(bundle)
        self.abstention = Abstention.of(bundle.manifest.guard, task)
        self._fast = frozenset(bundle.manifest.pixels.fast)
        self._least = _extent_of(pipeline.input, *((self.sentry.input,) if self.sentry is not None else ()))

    def run_file(
        self,
        path: Path | str,
        *,
        deployment: str = "",
        identity: Identity | None = None,
        overlap: bool = True,
        shared: SharedFile | None = None,
    ) -> Result:
        """One instance, from its file. Whatever is wrong with it is in the Result, not raised.

        Args:
            path: a DICOM file (PS3.10).
            deployment: part of the result's identity.
            identity: of the result, where it is known before the file is read; by default that of the file.
            overlap: work on frames ahead of the engine. Without, one thing happens at a time, so that a
                breadcrumb names for certain what a process died of.
            shared: what other deployments have prepared of it, or want to have.
        """
        prepared = self.prepare(path, deployment=deployment, identity=identity, shared=shared)
        return self.complete(prepared, overlap=overlap, settles=overlap)

    def prepare(
        self,
        path: Path | str,
        *,
        deployment: str = "",
        identity: Identity | None = None,
        breadcrumb: Breadcrumb | None = None,
        most_bytes: int = 0,
        shared: SharedFile | None = None,
    ) -> Prepared:
        """Decode and transform an instance of one frame; of one with several, read the header. Never raises.

        The one place where a single frame is decoded. Any thread may call it, also while another runs the model.

        Args:
            path: a DICOM file (PS3.10).
            deployment: part of the result's identity.
            identity: see ``run_file``.
            breadcrumb: the one to leave for this instance; by default the model's.
            most_bytes: a frame that takes more is left to ``complete``; 0 for no bound.
            shared: see ``run_file``.
        """
        run = Run(self, deployment, breadcrumb=breadcrumb or self._breadcrumb, file=path, identity=identity)
        prepared = Prepared(path, run)
        try:
            with run.at("header"), READABLE:
                prepared.header = read_header(path)
            run.admit(prepared.header.instance, prepared.header)
            run.shared = shared.frames(prepared.header) if shared else None
            prepared.numbers = self.bundle.manifest.frames.numbers(prepared.header.instance.number_of_frames)
            if len(prepared.numbers) == 1 and prepared.is_within(most_bytes):
                self._decode(prepared)
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is made of it
            prepared.error = error
        prepared.watch_over()
        return prepared

    def _decode(self, prepared: Prepared) -> None:
        run, header = prepared.run, prepared.known_header
        with (
            run.crumb(_DECODE),
            closing(_frames_of(prepared.path, header, self.decode_options(prepared.numbers), run.shared)) as frames,
        ):
            prepared.ready = self._next(islice(frames, 1), run, run.watch)
        prepared.is_decoded = True

    def complete(self, prepared: Prepared, *, overlap: bool = True, settles: bool = False) -> Result:
        """Run what was prepared; whatever is wrong with it is in the Result.

        Args:
            prepared: by this model.
            overlap: see ``run_file``.
            settles: nothing else is under way, so that a single frame may tell on how many threads the next run.
        """
        return self._ended(prepared.run, lambda: self._findings(prepared, overlap, settles))

    def _findings(self, prepared: Prepared, overlap: bool, settles: bool) -> Findings:
        if prepared.error is not None:
            raise prepared.error
        run, header, numbers = prepared.run, prepared.known_header, prepared.numbers
        if len(numbers) == 1:
            if not prepared.is_decoded:
                self._decode(prepared)
            ready = prepared.ready
            if ready is None or not (prepared.is_admitted or run.admits(ready[1], settles=settles)):
                return self._summary((), run)
            return self._summary(self._answered(ready, run, settles=settles), run)
        if not overlap:
            with closing(_frames_of(prepared.path, header, self.decode_options(numbers), run.shared)) as frames:
                return self._one_by_one(islice(frames, len(numbers)), run)
        count = decoders(header, len(numbers))
        shares = [self.decode_options(numbers[first::count]) for first in range(count)]
        return self._stream([_frames_of(prepared.path, header, share, run.shared) for share in shares], run)

    def interpreted(self, prepared: Prepared, outputs: Tensors) -> Result:
        """What the engine's checked answer to a prepared frame means: the end of one that ran along with others."""
        run = prepared.run

        def work() -> Findings:
            assert prepared.ready is not None
            return self._summary(run.stated(outputs, prepared.ready[1]), run)

        run.engine = self.engine
        run.frames_run += 1
        return self._ended(run, work)

    def run(self, frames: Iterable[Frame], instance: InstanceRef, *, deployment: str = "") -> Result:
        """One instance whose frames are already decoded (or come from a generator). Never raises, as ``run_file``."""
        run = Run(self, deployment, breadcrumb=self._breadcrumb)

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
        """Run the bundle's golden cases here, on this engine, and those of its guard's model; ``()`` when it has none.

        Raises:
            InferenceFailed: ``backend.golden-mismatch``, an answer outside its tolerance; ``backend.stateful``, two
                answers to one case that are not the same.
            BackendError: the engine failed.
            TensorMismatch: outputs that are not those declared.
        """
        guards = self.sentry.rehearse() if self.sentry is not None else ()
        with self._breadcrumb(self.run_step):
            return (*guards, *rehearse(self.bundle, self.engine.artifact, self.infer))

    def prove(self) -> None:
        """Answer golden cases, or a blank plane, one by one and as a stream: what an engine must to be trusted again.

        Raises:
            EdgeaiError: what went wrong, as ``rehearse``.
        """
        self.rehearse()
        with self._breadcrumb(self.run_step):
            prove_streams(self)

    def warm_up(self) -> None:
        """Send a blank plane through the transforms, so that the first image does not wait for their libraries.

        What a transform says of a blank plane does not matter here: it will say it of a real one.
        """
        for each in (self._pipeline, self.sentry):
            with suppress(EdgeaiError):
                if each is not None:
                    each.prepare(blank_frame())

    def close(self) -> None:
        """Free the engine, and that of its guard's model. Twice is fine."""
        self._session.close()
        if self.sentry is not None:
            self.sentry.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def reference(self) -> ModelRef:
        """Name, version and digest, as results carry them."""
        return self._model

    def decode_options(self, numbers: Sequence[int]) -> DecodeOptions:
        """What the decoder may do: the fast paths that the manifest signs, for the input that the model has."""
        rows, columns = self._least
        return DecodeOptions(fast=self._fast, min_rows=rows, min_columns=columns, frames=numbers)

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
        return self.checked(self._session.run(inputs))

    def at_run(self) -> AbstractContextManager[None]:
        """The breadcrumb of the engine's own step, for whoever feeds its ``stream``."""
        return self._breadcrumb(self.run_step)

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        """Many inferences, in order, as many at a time as the engine likes. Its answers are not ``checked`` yet."""
        return self._session.stream(inputs)

    def checked(self, outputs: Tensors) -> Tensors:
        """Hold a backend to what the manifest declares, so that one that lies ends as a failure with a code.

        Raises:
            TensorMismatch: ``tensor.mismatch``, or ``tensor.not-finite`` for NaN and infinity.
        """
        check_outputs(self._outputs, outputs)
        return outputs

    def own(self, outputs: Tensors) -> Tensors:
        """Those of an answer that the task reads."""
        return {name: outputs[name] for name in self._own}

    def _one_by_one(self, frames: Iterator[Frame], run: Run, *, settles: bool = False) -> Findings:
        """Decode, transform and run in turn, on this thread."""

        def following() -> Ready | None:
            with run.crumb(_DECODE):
                return self._next(frames, run, run.watch)

        ready = shown(each_ready(following))
        admitted = (each for each in ready if run.admits(each[1], settles=settles))
        return self._summary([one for each in admitted for one in self._answered(each, run, settles=settles)], run)

    def _answered(self, ready: Ready, run: Run, *, settles: bool = False) -> tuple[Findings, ...]:
        """Run the engine on one frame, and see what its answer means.

        With ``settles`` it also tells on how many threads the next run (``edgeai.model.threads``).
        """
        run.engine = self.engine
        inputs = {self._pipeline.input.name: ready[0]}
        with run.crumb(self.run_step), run.at("run"):
            outputs = self.infer(inputs)
        run.frames_run += 1
        if settles and isinstance(self._session, SingleFrames):
            with run.crumb(self.run_step):
                self._session.settle(inputs, outputs)
        return run.stated(outputs, ready[1])

    def _stream(self, shares: Sequence[Iterable[Frame]], run: Run) -> Findings:
        """Many frames, prepared on threads that take them in turn, and fed to the engine as fast as it takes them.

        ``decode`` and ``transform`` are then the sum over the threads, and ``run`` the time that was neither
        spent waiting for frames, nor on the guard's model, nor on findings.
        """
        idle, watches = Stopwatch(), [Stopwatch() for _ in shares]
        prepared = [self._prepared(share, run, watch) for share, watch in zip(shares, watches, strict=True)]
        each: list[Findings] = []
        with (
            in_turn(prepared, depth=_DEPTH) as ahead,
            run.crumb(self.run_step),
            closing(answers(self, shown(ahead), run, idle)) as answered,
        ):
            for outputs, seen in answered:
                with idle.stage("findings"):
                    each.extend(run.stated(outputs, seen))
        for watch in watches:
            run.watch.include(watch)
        others = sum(idle.ms.values())
        run.watch.add("run", max(0.0, idle.total()["total"] - others) / 1e3)
        return self._summary(each, run)

    def _prepared(self, frames: Iterable[Frame], run: Run, watch: Stopwatch) -> Iterator[Ready | Withheld]:
        """A thread's share of the frames, decoded and transformed."""
        each = iter(frames)
        with run.crumb(_DECODE), among_others():
            yield from each_ready(lambda: self._next(each, run, watch))

    def _next(self, frames: Iterator[Frame], run: Run, watch: Stopwatch) -> Ready | None:
        shared = run.shared
        with shared or nullcontext():
            with run.at("decode", watch):
                frame = next(frames, None)
            if frame is None:
                return None
            run.note(*(shared.notes(frame) if shared else frame.notes))
            with run.at("transform", watch):
                ready = run.looks.prepare(self._pipeline, frame, shared)
        run.note(*ready[1].notes)
        return ready

    def _summary(self, each: Sequence[Findings], run: Run) -> Findings:
        run.hold(len(each))
        if not each:
            raise InputRejected("the instance has no frames", code="input.no-frames")
        with run.crumb(INTERPRET), run.at("summarise"):
            findings = self._task.summarise(each, run.known)
            held = self.abstention if len(each) > 1 else None
            return held.hold_all(findings, run.known) if held else findings


def _extent_of(*inputs: TensorSpec) -> tuple[int, int]:
    """Rows and columns that the largest of them takes; 0 where that is any number."""
    sides = [dict(zip(spec.layout, spec.shape, strict=True)) for spec in inputs]
    return max(each.get("H") or 0 for each in sides), max(each.get("W") or 0 for each in sides)


def _frames_of(
    path: Path | str, header: Header, options: DecodeOptions, shared: SharedFrames | None
) -> Generator[Frame, None, None]:
    with READABLE:
        yield from read_frames(path, options, header=header, known=shared.known if shared else None)
