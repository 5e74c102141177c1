"""What deployments share of an image that they all have to do: frames decoded once, and shrunk once.

Each deployment tells its ``Recipe``. A frame is left where two of them part, for as long as another has it to do.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

from edgeai.model.halves import NotShared, packed, unpacked
from edgeai.model.recipe import Recipe, deepest
from edgeai.pipeline import Halfway
from edgeai.spool.planes import Place, Plane, Planes, Turn

if TYPE_CHECKING:
    from edgeai.api.imaging import Frame
    from edgeai.api.results import Note
    from edgeai.dicom.header import Header
    from edgeai.dicom.layout import PixelLayout

_LEAST_BYTES: Final = 256 * 1024
"""Frames of fewer bytes are made in the time that it takes to ask for them."""
_SHRUNK: Final = 2
"""What was only mapped is left to others once it is smaller by so much: else they do the same as fast."""


class Sharing:
    """Of one deployment, while its model is open.

    Args:
        planes: where.
        deployment: its name.
        recipe: of its model.
        others: the other deployments of the profile.
    """

    def __init__(self, planes: Planes, deployment: str, recipe: Recipe, others: Collection[str]) -> None:
        self._planes = planes
        self._recipe = recipe
        self._others = frozenset(others) - {deployment}
        self._barren: set[tuple[int, int]] = set()
        planes.tell(deployment, recipe.told())

    def of(self, file: str, sharers: Collection[str], patience_s: float) -> SharedFile:
        """One job's.

        Args:
            file: name of the received file.
            sharers: who else has it to do yet.
            patience_s: how long the job may wait for what others are at.
        """
        heard = {name: Recipe.heard(text) for name, text in self._planes.recipes().items() if name in self._others}
        recipes = {name: recipe for name, recipe in heard.items() if recipe is not None}
        return SharedFile(self._planes.place(file, patience_s), self._recipe, recipes, frozenset(sharers), self._barren)


class SharedFile:
    """See ``Sharing.of``."""

    def __init__(
        self,
        place: Place,
        recipe: Recipe,
        others: Mapping[str, Recipe],
        sharers: Collection[str],
        barren: set[tuple[int, int]],
    ) -> None:
        self._place = place
        self._recipe = recipe
        self._others = others
        self._sharers = sharers
        self._barren = barren

    def frames(self, header: Header) -> SharedFrames | None:
        """Its frames, once the header is read; None where there is nothing to gain."""
        layout = header.pixels
        if layout is None or not self._others or _bytes(layout) < _LEAST_BYTES:
            return None
        known = self._stages(list(self._others.values()), layout)
        if not known:
            return None
        asked = self._stages([recipe for name, recipe in self._others.items() if name in self._sharers], layout)
        names = {steps: self._recipe.name(layout, steps) for steps in sorted(known, reverse=True)}
        return SharedFrames(self._place, header, layout, names, asked, self._barren)

    def _stages(self, recipes: Sequence[Recipe], layout: PixelLayout) -> set[int]:
        """After how many steps frames are shared with these."""
        stages = deepest(self._recipe, recipes, layout)
        if not _is_mapped(layout):
            return stages
        size = _bytes(layout).bit_length()
        return {steps for steps in stages if steps and (steps, size) not in self._barren}


class _Own(threading.local):
    """What one thread is at."""

    def __init__(self) -> None:
        self.turns: dict[int, Turn] = {}
        self.here: Halfway | None = None
        self.decoded: tuple[Note, ...] = ()


class SharedFrames:
    """Frames of one image that others have made, or wait for. Any thread may prepare one, in the context of this.

    Turns are taken from the last step to the first, by everybody, so that no two wait for each other.
    """

    def __init__(
        self,
        place: Place,
        header: Header,
        layout: PixelLayout,
        names: Mapping[int, str],
        asked: Collection[int],
        barren: set[tuple[int, int]],
    ) -> None:
        self._place = place
        self._header = header
        self._layout = layout
        self._names = names
        self._asked = asked
        self._barren = barren
        self._own = _Own()

    def __enter__(self) -> None:
        """Before a frame is decoded."""
        self._own.here = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """The frame is prepared, or cannot be: others have the turns that are left."""
        while self._own.turns:
            self._own.turns.popitem()[1].close()

    def known(self, number: int) -> Frame | None:
        """The frame with this number, as far as anybody has brought it; or it is this one's turn to make it."""
        own = self._own
        for steps, name in self._names.items():  # the last step first
            each = f"{name}-{number}"
            got = self._place.take(each) if steps in self._asked else self._place.get(each)
            if isinstance(got, Turn):
                own.turns[steps] = got
            elif isinstance(got, Plane):
                own.here, own.decoded = unpacked(got.head, got.pixels, self._header, number)
                return own.here.frame
        return None

    def notes(self, frame: Frame) -> tuple[Note, ...]:
        """What was noted when the frame was decoded, here or elsewhere."""
        if self._own.here is None:
            self._own.decoded = frame.notes
        return self._own.decoded

    def begun(self, frame: Frame) -> Halfway:
        """See ``pipeline.Shared``."""
        return self._own.here or Halfway.start(frame)

    def reached(self, halfway: Halfway) -> None:
        """See ``pipeline.Shared``."""
        turn = self._own.turns.pop(halfway.steps, None)
        if turn is None:
            return
        try:
            if self._is_worth(halfway):
                turn.leave(*packed(halfway, self._own.decoded, self._header))
        except NotShared:
            pass
        finally:
            turn.close()

    def _is_worth(self, halfway: Halfway) -> bool:
        size = _bytes(self._layout)
        if not _is_mapped(self._layout) or halfway.frame.pixels.nbytes * _SHRUNK <= size:
            return True
        self._barren.add((halfway.steps, size.bit_length()))
        return False


def _bytes(layout: PixelLayout) -> int:
    """Of one decoded frame, about."""
    return layout.stored_bits // 8


def _is_mapped(layout: PixelLayout) -> bool:
    """Whether the file's bytes are the pixels already, so that decoding costs nothing."""
    return layout.syntax.codec == "native" and not layout.syntax.deflated
