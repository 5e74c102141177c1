"""What keeps a model from speaking, in one run: of which frames, what was measured, and what of it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from edgeai.api.imaging import Frame
from edgeai.api.results import GuardFigure, Note
from edgeai.api.tensors import Array, Tensors
from edgeai.model.content import ContentLook, Figures
from edgeai.model.endings import named
from edgeai.model.withheld import Withheld

if TYPE_CHECKING:
    from edgeai.bundle.uses import GuardUse
    from edgeai.model.distance import Distance
    from edgeai.model.sentry import Sentry
    from edgeai.pipeline import Pipeline, Shared

Ready: TypeAlias = tuple[Array, Frame]
"""The tensor, and the frame as the model sees it."""
FRAMES_WITHHELD: Final = "guard.frames-withheld"


class Looks:
    """Of one run; frames may be prepared on several threads.

    Args:
        guard: what the manifest puts before the model.
        distance: what the model's answers are held to.
        sentry: the model that stands before it, where one does and is to be asked.
    """

    def __init__(
        self, guard: GuardUse | None, distance: Distance | None = None, *, sentry: Sentry | None = None
    ) -> None:
        self._looks = guard is not None and guard.content
        self._distance = distance
        self._sentry = sentry
        self._to_ask: dict[int, Ready] = {}
        self._figures: dict[int, Figures] = {}
        self._withheld: dict[int, Withheld] = {}
        self._unlike: set[int] = set()
        """Those of them that show something, and not what the model is for."""
        self._decided: int | None = None
        """The one as which the instance is withheld."""

    def prepare(self, pipeline: Pipeline, frame: Frame, shared: Shared | None) -> Ready:
        """The frame through the transforms, and past the look at its content; ``take`` has it for the guard's model.

        Raises:
            Withheld: the model is not to be asked about it.
            EdgeaiError: as ``Pipeline.prepare``.
        """
        ready = self._past_content(pipeline, frame, shared)
        if self._sentry is not None:
            self._to_ask[frame.number] = self._sentry.prepare(frame)
        return ready

    def _past_content(self, pipeline: Pipeline, frame: Frame, shared: Shared | None) -> Ready:
        if not self._looks:
            return pipeline.prepare(frame, shared)
        look = ContentLook()
        try:
            ready = pipeline.prepare(frame, shared, look)
            look.hold_size(ready[1])
        except Withheld as error:
            self._withheld[frame.number] = error
            raise
        self._figures[frame.number] = look.figures
        return ready

    def prepare_asked(self, pipeline: Pipeline, frame: Frame) -> Ready:
        """The same, and the guard's model asked at once, for who has no run; raises as ``prepare``, ``Sentry.ask``."""
        ready = self.prepare(pipeline, frame, None)
        if self._sentry is not None:
            self._sentry.ask(self.take(frame.number), frame.instance)
        return ready

    def take(self, number: int) -> Ready:
        """A frame as the guard's model takes it, once."""
        return self._to_ask.pop(number)

    def told(self, number: int, figure: GuardFigure) -> None:
        """The guard's model admits a frame, with this figure."""
        self._figures[number] = (*self._figures.get(number, ()), figure)

    def refused(self, number: int, error: Withheld) -> None:
        """It does not."""
        self._keep_back(number, error, self._figures.pop(number, ()))

    def _keep_back(self, number: int, error: Withheld, before: Figures) -> None:
        error.figures = (*before, *error.figures)
        self._withheld[number] = error.with_traceback(None)
        self._unlike.add(number)

    def pass_answer(self, number: int, outputs: Tensors) -> bool:
        """Whether the model may speak of a frame, by how far its own answer is from those to what it learnt from.

        Args:
            number: of the frame.
            outputs: what the engine answered.
        """
        if self._distance is None:
            return True
        before = self._figures.get(number, ())
        try:
            self._figures[number] = (*before, self._distance.hold(outputs))
        except Withheld as error:
            self._keep_back(number, error, before)
            return False
        return True

    @property
    def figures(self) -> Figures:
        """For the result: of the first frame that was withheld, or else of the first."""
        if self._withheld:
            return self._withheld[self._decided or min(self._withheld)].figures
        return self._figures[min(self._figures)] if self._figures else ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """That the findings do not speak of frames that were withheld, and which those are."""
        if not self._withheld:
            return ()
        return (Note(code=FRAMES_WITHHELD, text=named("not judged", self._withheld)),)

    def hold(self, stated: int) -> None:
        """Nothing, where others are left, and as many got a statement as show what the model is not for.

        Args:
            stated: frames of which there are findings.

        Raises:
            Withheld: as the first of those that do; where none is left, of all that were withheld.
        """
        against = self._unlike if stated else set(self._withheld)
        if stated >= len(against):
            return
        self._decided = min(against)
        first = self._withheld[self._decided]
        if stated + len(against) == 1:
            raise first
        many = f"{len(against)} of {stated + len(against)} frames show what the model is not for"
        told = f"{many if stated else f'none of {len(against)} frames may be judged'}; of the first, {first}"
        raise Withheld(told, code=first.code, figures=first.figures, remedy=first.remedy)


def each_ready(following: Callable[[], Ready | None]) -> Iterator[Ready | Withheld]:
    """Frames in their order, and in the place of one that is withheld, why: so that those of several threads stay so.

    Args:
        following: gives the next; ``None`` when there is none.
    """
    while True:
        try:
            ready = following()
        except Withheld as error:
            yield error.with_traceback(None)  # which would keep the frame in memory until the run is over
            continue
        if ready is None:
            return
        yield ready


def shown(frames: Iterable[Ready | Withheld]) -> Iterator[Ready]:
    """Those that the model is asked about."""
    return (frame for frame in frames if not isinstance(frame, Withheld))
