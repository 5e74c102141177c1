"""A third party's transform and sink: nearest pixels of 0 to 1, and a book with a line a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeai.api import (
    ConfigError,
    Frame,
    Message,
    Options,
    OptionSpec,
    Receipt,
    SinkFailed,
    SinkRequest,
    SinkSpec,
    TransformFailed,
    TransformSpec,
    hookimpl,
)

EDGEAI_API = (1, 2)


class Thumb:
    """The nearest pixels at another size, as float32 from 0 to 1 by the bits stored."""

    def __init__(self, options: Options) -> None:
        self._side = options["side"]
        if type(self._side) is not int or not 0 < self._side <= 4096:
            raise TransformFailed(f"side is a whole number of 1 to 4096, not {self._side!r}")

    def apply(self, frame: Frame) -> Frame:
        rows, columns = ((np.arange(self._side) * n + n // 2) // self._side for n in (frame.rows, frame.columns))
        picked = frame.pixels[np.minimum(rows, frame.rows - 1)][:, np.minimum(columns, frame.columns - 1)]
        grey = picked if picked.ndim == 2 else picked.mean(axis=2)
        top = 1.0 if frame.pixels.dtype.kind == "f" else float(2**frame.bits_stored - 1)
        return replace(
            frame,
            pixels=np.clip(grey / top, 0, 1).astype(np.float32),
            geometry=frame.geometry.scaled(frame.columns / self._side, frame.rows / self._side),
            photometric_interpretation="MONOCHROME2",
            stored_units=False,
        )


class Book:
    """A line a message: its channel, a blank, its body. Flushed before it counts."""

    gives_receipts = True

    def __init__(self, request: SinkRequest) -> None:
        path = request.settings.get("path")
        if not isinstance(path, str) or not path:
            raise ConfigError(f"path is the name of a file, not {path!r}")
        self._path: Path | None = Path(path)

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        if self._path is None:
            raise SinkFailed("this book was closed")
        try:
            with self._path.open("ab") as file:
                file.writelines(message.channel.encode() + b" " + message.body + b"\n" for message in messages)
        except OSError as error:
            raise SinkFailed(f"nobody can write {self._path}: {error}") from error
        return [Receipt(sequence=message.sequence, verdict="delivered") for message in messages]

    def close(self) -> None:
        self._path = None


@hookimpl
def edgeai_transforms() -> tuple[TransformSpec, ...]:
    side = OptionSpec(name="side", help="Rows and columns of the output.", required=True)
    return (TransformSpec(name="acme-thumb", build=Thumb, options=(side,), help="A thumbnail.", source="Sampling"),)


@hookimpl
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    path = OptionSpec(name="path", help="The book's file.", required=True)
    ink = OptionSpec(name="ink", help="Its colour.", choices=("blue", "black"), default="blue")
    return (SinkSpec(name="acme-book", open=Book, settings=(path, ink), help="Writes a book."),)
