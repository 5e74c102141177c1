"""How far a run came, at which step it failed, and the ``Result`` that comes of it whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

import edgeai
from edgeai.api.endings import NoStatement, NotApplicable
from edgeai.api.errors import EdgeaiError
from edgeai.api.imaging import IMAGER_PIXEL_SPACING, NOMINAL_SCANNED_PIXEL_SPACING
from edgeai.api.results import EngineRef, Failure, Findings, GuardFigure, Note, Outcome, Result
from edgeai.api.specs import FrameContext
from edgeai.dicom.layout import check_extent
from edgeai.dicom.notes import DETECTOR_PLANE
from edgeai.model.endings import Endings
from edgeai.model.looks import Looks
from edgeai.model.results import Stopwatch, identity_of, now
from edgeai.model.steps import INTERPRET
from edgeai.model.withheld import Withheld

if TYPE_CHECKING:
    from pathlib import Path

    from edgeai.api.imaging import Frame, Geometry
    from edgeai.api.instances import InstanceRef
    from edgeai.api.tensors import Tensors
    from edgeai.dicom.header import Header
    from edgeai.model.results import Identity
    from edgeai.model.running import Model
    from edgeai.model.sharing import SharedFrames
    from edgeai.model.steps import Breadcrumb, RunStep

_STAGES: Final[dict[RunStep, str]] = {"summarise": "interpret"}
"""Steps that are timed under another's name."""
_OF_THE_TASK: Final = ("interpret", "summarise")
_PLANES: Final = {
    IMAGER_PIXEL_SPACING: "Imager Pixel Spacing (0018,1164) is that of the detector's plane",
    NOMINAL_SCANNED_PIXEL_SPACING: "Nominal Scanned Pixel Spacing (0018,2010) is that of the film",
}


class Run:
    """One run of a model.

    Attributes:
        engine: what computed it; ``None`` until an engine has seen something of it.
        frames_run: how many frames the engine has answered.
        crumb: the breadcrumb to leave for this very run.
        looks: what stands before the model, and what it saw.
        endings: frames that the model was shown, and that got no statement.
        shared: what other deployments have prepared of it, or want to have; ``None`` where there is nothing to gain.
        failed_step: where it failed; ``None`` when it did not, or when no step was at fault.
    """

    def __init__(
        self,
        model: Model,
        deployment: str,
        *,
        breadcrumb: Breadcrumb,
        file: Path | str | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._model = model
        self._identity = identity
        self.crumb = breadcrumb
        self._deployment = deployment
        self._file = file
        self._notes: dict[Note, None] = {}
        self._raised: list[tuple[BaseException, RunStep]] = []
        self.watch = Stopwatch()
        self.instance: InstanceRef | None = None
        self.engine: EngineRef | None = None
        self.frames_run = 0
        self.looks = Looks(model.bundle.manifest.guard, model.distance, sentry=model.sentry)
        self.endings = Endings()
        self.shared: SharedFrames | None = None
        self.failed_step: RunStep | None = None

    @property
    def known(self) -> InstanceRef:
        """The instance, once its header has been read."""
        assert self.instance is not None
        return self.instance

    def at(self, step: RunStep, watch: Stopwatch | None = None) -> At:
        """A context in which that step is under way: it is timed, and an error from inside is laid on it."""
        return At(self, step, self.watch if watch is None else watch)

    def lay(self, step: RunStep, error: BaseException) -> None:
        """Remember where an error comes from. What was laid on one step is not laid on another that it passes."""
        if not any(known is error for known, _ in self._raised):
            self._raised.append((error, step))

    def admit(self, instance: InstanceRef, header: Header | None = None) -> None:
        """Take an instance, unless it is no image, or not one that the model is meant for.

        Whether it is an image at all is asked first: what has no rows is not "smaller than the model wants".

        Raises:
            PixelsRejected: ``pixels.dimensions``.
            NotApplicable: with the reason.
        """
        self.instance = instance
        if header is not None:
            self.note(*header.notes)
            if header.pixels is not None:
                with self.at("header"):
                    check_extent(header.pixels)
        why = self._model.bundle.manifest.eligibility.why_not(instance)
        if why is not None:
            raise NotApplicable(why, code="input.not-eligible")

    def admits(self, seen: Frame, *, settles: bool = False) -> bool:
        """Ask the model that stands before the model about a frame: on the engine's turn, and before it.

        What it keeps from the model is in ``looks``.

        Args:
            seen: the frame as the model is to see it.
            settles: see ``Model.complete``.

        Raises:
            EdgeaiError: it could not be asked, which admits nothing.
        """
        sentry = self._model.sentry
        if sentry is None:
            return True
        tensor, frame = self.looks.take(seen.number)
        inputs = {sentry.input.name: tensor}
        with self.crumb(sentry.run_step), self.at("guard"):
            outputs = sentry.infer(inputs)
        if settles:
            with self.crumb(sentry.run_step):
                sentry.settle(inputs, outputs)
        with self.crumb(INTERPRET), self.at("interpret"):
            try:
                figure = sentry.judged(outputs, frame, self.known)
            except Withheld as error:  # in here, since it is no answer of the model's
                self.looks.refused(seen.number, error)
                return False
        self.looks.told(seen.number, figure)
        return True

    def note(self, *notes: Note) -> None:
        """Keep what a reader of the result should know, each once, from any thread."""
        if notes:
            self._notes.update(dict.fromkeys(notes))

    def stated(self, outputs: Tensors, seen: Frame) -> tuple[Findings, ...]:
        """The findings of a frame that the model has seen; none where it gets no statement.

        Raises:
            EdgeaiError: as ``Task.interpret``.
        """
        model = self._model
        if not self.looks.pass_answer(seen.number, outputs):
            return ()
        try:
            with self.crumb(INTERPRET), self.at("interpret"):
                findings = model.task.interpret(model.own(outputs), FrameContext(frame=seen, instance=self.known))
                if model.abstention is not None:
                    self.endings.keep(seen.number, model.abstention.hold(findings, self.known))
        except NoStatement as ending:
            self.endings.add(seen.number, ending)
            return ()
        self.place(findings, seen.geometry)
        return (findings,)

    def hold(self, stated: int) -> None:
        """Nothing, where so many frames with findings are enough for the instance.

        Raises:
            NoStatement: they are not: too many others got no statement, or show what the model is not for.
        """
        try:
            self.endings.hold(stated)
        except NoStatement as ending:
            self.lay("summarise", ending)
            raise
        self.looks.hold(stated)

    def place(self, findings: Findings, geometry: Geometry) -> None:
        """Say why regions have no millimetres, where there are some that are not those of the anatomy."""
        plane = _PLANES.get(geometry.spacing_from)
        if geometry.pixel_spacing_mm is None or plane is None:
            return
        if any(finding.region is not None and finding.region.area_mm2 is None for finding in findings):
            text = f"{plane} and not of the anatomy; no millimetres were made of it"
            self.note(Note(code=DETECTOR_PLANE, text=text))

    def result(self, work: Callable[[], Findings]) -> Result:
        """Do the work and say how it ended."""
        try:
            return self._result(Outcome.COMPLETED, findings=work())
        except NoStatement as error:
            if not self.frames_run:
                self.engine = None
            is_answer = self._step_of(error) in _OF_THE_TASK
            return self._result(error.outcome, reason=Failure.of(error), figures=error.figures if is_answer else ())
        except EdgeaiError as error:
            return self._failed(error, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not pass for "nothing found", nor stop the rest
            message = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
            failure = EdgeaiError(message, code="edgeai.internal", remedy="report this with the file's attributes")
            return self._failed(error, failure)

    def _step_of(self, error: BaseException) -> RunStep | None:
        return next((step for known, step in self._raised if known is error), None)

    def _failed(self, error: BaseException, told: EdgeaiError) -> Result:
        self.failed_step = self._step_of(error)
        if self.failed_step == "run":
            self.engine = self._model.engine  # it may have failed before it took anything
        return self._result(Outcome.FAILED, reason=Failure.of(told))

    def _result(
        self,
        outcome: Outcome,
        *,
        findings: Findings = (),
        reason: Failure | None = None,
        figures: tuple[GuardFigure, ...] | None = None,
    ) -> Result:
        model = self._model
        digest, deployment = model.bundle.digest, self._deployment
        identity = self._identity or identity_of(self.instance, digest=digest, deployment=deployment, file=self._file)
        total = self._frames_total()
        return Result(
            result_id=identity.result_id,
            attempt=identity.attempt,
            deployment=deployment,
            outcome=outcome,
            model=model.reference,
            instance=identity.instance,
            created_at=now(),
            edgeai_version=edgeai.__version__,
            findings=findings,
            reason=reason,
            notes=(*self._notes, *self._unspoken(outcome, total)),
            frames_total=total,
            frames_run=None if total is None else self.frames_run,
            guard=(*self.looks.figures, *(self.endings.figures if figures is None else figures)),
            engine=self.engine,
            degraded=model.degraded,
            timings_ms=self.watch.total(),
        )

    def _frames_total(self) -> int | None:
        """As its header says; at least what was run, of frames that came without a file."""
        if self.instance is None:
            return None
        return max(0, self.instance.number_of_frames, self.frames_run)

    def _unspoken(self, outcome: Outcome, total: int | None) -> tuple[Note, ...]:
        """That the findings do not speak of every frame."""
        if outcome is not Outcome.COMPLETED:
            return ()
        sampled = total is not None and self.frames_run < total
        text = f"{self.frames_run} of {total} frames were run"
        note = (Note(code="input.frames-sampled", text=text),) if sampled else ()
        return (*note, *self.looks.notes, *self.endings.notes)


class At:
    """See ``Run.at``."""

    __slots__ = ("_began", "_run", "_step", "_watch")

    def __init__(self, run: Run, step: RunStep, watch: Stopwatch) -> None:
        self._run, self._step, self._watch = run, step, watch
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._watch.add(_STAGES.get(self._step, self._step), time.perf_counter() - self._began)
        if error is not None:
            self._run.lay(self._step, error)
