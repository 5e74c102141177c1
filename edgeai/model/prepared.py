"""An instance on its way through a model: what is known of it before the engine's turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import InputRejected

if TYPE_CHECKING:
    from edgeai.api.imaging import Frame
    from edgeai.api.tensors import Array
    from edgeai.dicom.header import Header
    from edgeai.model.progress import Run


class Prepared:
    """What ``Model.prepare`` gives.

    Attributes:
        path: its file.
        run: how far it has come.
        header: of the file, once it was read.
        numbers: the frames that the model wants.
        ready: the tensor and what the model sees; for a single frame that was decoded.
        is_decoded: whether the single frame was asked for; there may have been none.
        is_admitted: whether the model that stands before the model has let it pass already.
        error: why it goes no further.
        spent_s: how long preparing took.
    """

    __slots__ = ("_since", "error", "header", "is_admitted", "is_decoded", "numbers", "path", "ready", "run", "spent_s")

    def __init__(self, path: Path | str, run: Run) -> None:
        self.path = path
        self.run = run
        self.header: Header | None = None
        self.numbers: Sequence[int] = ()
        self.ready: tuple[Array, Frame] | None = None
        self.is_decoded = False
        self.is_admitted = False
        self.error: Exception | None = None
        self.spent_s = 0.0
        self._since = time.perf_counter()

    @property
    def known_header(self) -> Header:
        """The header, once it was read."""
        assert self.header is not None
        return self.header

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left but the engine's turn."""
        return self.error is None and self.ready is not None

    @property
    def is_left(self) -> bool:
        """Whether decoding is left to the model's own turn: several frames, or a large one."""
        return self.error is None and not self.is_decoded

    def is_within(self, most_bytes: int) -> bool:
        """Whether a decoded frame takes no more than that; 0 for no bound."""
        pixels = self.known_header.pixels
        return not most_bytes or pixels is None or pixels.stored_bits <= most_bytes * 8

    def watch_over(self) -> None:
        """It is prepared, and waits for its turn from now on."""
        began, self._since = self._since, time.perf_counter()
        self.spent_s = self._since - began

    def waited(self) -> None:
        """Its turn has come: count the wait as a stage of its own."""
        self.run.watch.add("wait", time.perf_counter() - self._since)


class _Readable:
    """No generator: it goes around one, and would have to be unwound with it when frames are closed."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise InputRejected(
                f"the file cannot be read: {error.strerror or type(error).__name__}",
                code="input.unreadable",
                remedy="check that the file exists and may be read",
            ) from error


READABLE: Final = _Readable()
"""Where a file is read: what the system says of it becomes ``InputRejected``, ``input.unreadable``."""
