"""Frames of one run that got no statement, and when there is none of the whole instance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgeai.api.endings import NoStatement
from edgeai.api.errors import EdgeaiError
from edgeai.api.results import GuardFigure, Note
from edgeai.counted import counted

FRAMES_UNSTATED: Final = "task.frames-unstated"
_MOST_NAMED: Final = 8


class Endings:
    """Of one run: frames that the model was shown, and of which its task makes no statement."""

    def __init__(self) -> None:
        self._ended: dict[int, NoStatement] = {}
        self._stated: dict[int, tuple[GuardFigure, ...]] = {}

    def add(self, number: int, ending: NoStatement) -> None:
        """The frame of this number, from 1, ended so."""
        self._ended[number] = ending.with_traceback(None)  # which would keep the frame in memory until the run is over

    def keep(self, number: int, figures: tuple[GuardFigure, ...]) -> None:
        """The frame of this number got a statement, with these figures."""
        self._stated[number] = figures

    @property
    def figures(self) -> tuple[GuardFigure, ...]:
        """For the result: of the first frame that ended so, or else of the first."""
        if self._ended:
            return self._ended[min(self._ended)].figures
        return self._stated[min(self._stated)] if self._stated else ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """That no finding speaks of these frames, and which they are."""
        if not self._ended:
            return ()
        return (Note(code=FRAMES_UNSTATED, text=named("without a statement", self._ended)),)

    def hold(self, stated: int) -> None:
        """Nothing, where as many frames got a statement as did not: so few do not speak for an instance else.

        Args:
            stated: frames of which there are findings.

        Raises:
            NoStatement: as the first of those without.
        """
        count = len(self._ended)
        if stated >= count:
            return
        first = self._ended[min(self._ended)]
        if stated + count == 1:
            raise first
        told = f"{count} of {stated + count} frames give no statement; of the first, {first}"
        raise type(first)(told, code=first.code, figures=first.figures, remedy=first.remedy)


def named(what: str, ended: Mapping[int, EdgeaiError]) -> str:
    """``2 frames not judged, and no finding speaks of what is there: 3, 5 (guard.blank)``."""
    numbers = sorted(ended)
    listed = ", ".join(map(str, numbers[:_MOST_NAMED])) + ", ..." * (len(numbers) > _MOST_NAMED)
    codes = ", ".join(sorted({error.code for error in ended.values()}))
    return f"{counted(len(numbers), 'frame')} {what}, and no finding speaks of what is there: {listed} ({codes})"
