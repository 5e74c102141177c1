"""What a first card says of labels and of the pictures that go in: seen, or asked for, and never in silence.

Both kinds of first card (of a Keras model, of one that someone else made) are guessed here; what the answers mean, an
installed task says (``tries``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import ConfigError, TensorSpec
from edgeai.bundle.manifest import TransformStep

UNIT: Final = (0.0, 1.0)
BYTE: Final = (0.0, 255.0)
_SURELY: Final = 4
"""So many times wider or narrower than what first layers take, and it is surely another range."""
_WHOLE: Final = ("int8", "uint8", "int16", "uint16")
PICTURES: Final = (*_WHOLE, "float16", "float32", "float64")
"""What an input may take a picture as."""
_TWO: Final = 2
_LABELS: Final = "a text file with one label a line"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Makes errors of one code."""

    code: str

    def __call__(self, why: str, remedy: str) -> ConfigError:
        """The error."""
        return ConfigError(why, code=self.code, remedy=remedy)


def shown(shape: Sequence[int | None]) -> str:
    """Extents as a sentence has them: ``any x 48 x 48``."""
    return " x ".join(str(extent or "any") for extent in shape) or "a number"


# --- labels ---------------------------------------------------------------------------------------


def lines_of(path: Path, refused: Refusal) -> list[str]:
    """The lines of a file of labels, without a byte order mark and without empty lines at its end.

    Raises:
        ConfigError: it cannot be read, is no text, or has no label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise refused(f"{path}: {error.strerror or error}", _LABELS) from error
    except UnicodeDecodeError as error:
        raise refused(f"{path}: it is no text in UTF-8", _LABELS) from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise refused(f"{path} has no label", _LABELS)
    if unprintable := [line for line in lines if not line.isprintable()]:
        raise refused(f"{path}: {unprintable[0]!r} is no label", _LABELS)
    return lines


def words_of(labels: Path | None, wanted: int, output: str, refused: Refusal) -> tuple[list[str], tuple[str, ...]]:
    """The labels of a file, or numbered ones where there is none; and what was done for that.

    Raises:
        ConfigError: as ``labels_in``.
    """
    if labels is None:
        return [f"label-{number}" for number in range(wanted)], ()
    return labels_in(labels, wanted, output, refused)


def labels_in(path: Path, wanted: int, output: str, refused: Refusal) -> tuple[list[str], tuple[str, ...]]:
    """As many labels as the output wants, each its own word; and what was done for that.

    ImageNet has two kinds of crane, so that a word that is there again is numbered, aloud.

    Raises:
        ConfigError: as ``lines_of``; or there are more or fewer.
    """
    lines = lines_of(path, refused)
    empty = [number for number, line in enumerate(lines, 1) if not line]
    kept = [(number, line) for number, line in enumerate(lines, 1) if line]
    if len(kept) != wanted:
        holes = f" (line {', '.join(map(str, empty))} is empty)" if empty else ""
        both = "; a single answer is between two: the first line is the negative, the second the positive"
        raise refused(
            f"{path} has {counted(len(kept), 'label')}{holes}, the output {output} wants {wanted}",
            "one label a line" + (both if wanted == _TWO else ""),
        )
    seen: dict[str, int] = {}
    words, notes = [], []
    for number, line in kept:
        seen[line] = seen.get(line, 0) + 1
        word = line if seen[line] == 1 else f"{line} ({seen[line]})"
        if word != line:
            notes.append(f"{path.name}:{number}: {line!r} is there already; it is called {word!r}")
        words.append(word)
    return words, tuple(notes)


# --- pictures -------------------------------------------------------------------------------------


def check_values(values: tuple[float, float], refused: Refusal) -> None:
    """Refuse black and white that are none."""
    black, white = values
    if strange := [value for value in values if not math.isfinite(value)]:
        raise refused(f"--values {black:g} {white:g}: {strange[0]:g} is no number", "e.g. --values -1 1")
    if black >= white:
        raise refused(f"--values {black:g} {white:g}: white is not more than black", "e.g. --values -1 1")


def check_taken(
    values: tuple[float, float], taken: tuple[float, float] | None, name: str, refused: Refusal
) -> tuple[str, ...]:
    """Refuse black and white that the model's first layers surely do not take; a note where they look for others.

    Args:
        values: as ``--values`` says.
        taken: what the first layers take; ``None`` where they say nothing, or nothing that is understood.
        name: of the input.
        refused: makes the error.
    """
    if taken is None or values == taken:
        return ()
    told, seen = (f"{ends[0]:g} to {ends[1]:g}" for ends in (values, taken))
    wide = (values[1] - values[0]) / (taken[1] - taken[0])
    if not 1 / _SURELY < wide < _SURELY:
        raise refused(
            f"--values {values[0]:g} {values[1]:g}: the first layers behind input {name} take {seen}, and make what "
            f"is {told} about {max(wide, 1 / wide):.0f} times too {'large' if wide > 1 else 'small'}",
            f"leave --values out, or say --values {taken[0]:g} {taken[1]:g}",
        )
    return (f"input {name}: --values says {told}, and its first layers look as if they take {seen}: one is wrong",)


def steps_of(
    *,
    rows: int,
    columns: int,
    colour: bool,
    dtype: str,
    values: tuple[float, float] | None,
    scale: tuple[float, int] | None = None,
) -> tuple[list[TransformStep], tuple[float, float]]:
    """From a picture to an input, and what black and white then are to it.

    Grey pictures keep their own range where their header has no window: a network that was trained on stored values
    must not be shown stretched ones.

    Args:
        rows: of the input.
        columns: of the input.
        colour: three channels, else one.
        dtype: of the input.
        values: what black and white are meant to be, as real numbers; ``None`` where nobody says.
        scale: (scale, zero point) of an input in whole numbers.
    """
    resize = TransformStep(transform="resize", options={"rows": rows, "columns": columns})
    invert = TransformStep(transform="invert")
    whole = dtype in _WHOLE
    if dtype == "uint8" and scale is None and values in (None, BYTE):
        last = [TransformStep(transform="rgb")] if colour else [_window("uint8")]
        return [*([] if colour else [TransformStep(transform="grey")]), resize, invert, *last], _real(dtype, scale)
    black, white = ends = values or (_real(dtype, scale) if whole else UNIT)
    if colour:  # a window takes grey values alone
        full = TransformStep(transform="normalise", options={"mode": "full_range", "to": [black, white]})
        steps = [resize, invert, TransformStep(transform="rgb"), full]
    else:
        steps = [TransformStep(transform="grey"), resize, invert, _window("byte" if ends == BYTE else "unit")]
        if ends not in (UNIT, BYTE):
            linear = {"mode": "scale", "scale": white - black, "offset": black}
            steps.append(TransformStep(transform="normalise", options=linear))
    if whole:
        factor, zero = scale or (1.0, 0)
        rounded = {"dtype": dtype, "scale": factor, "zero_point": zero}
        steps.append(TransformStep(transform="quantise", options=rounded))
    return steps, ends


def _window(output: str) -> TransformStep:
    return TransformStep(transform="window", options={"mode": "voi", "on_missing": "full_range", "output": output})


def _real(dtype: str, scale: tuple[float, int] | None) -> tuple[float, float]:
    """What the least and the greatest whole number stand for: whoever quantised it made them fit what went in.

    Sixteen bits are quantised around zero, whatever goes in: of them nobody can tell.
    """
    factor, zero = scale or (1.0, 0)
    if dtype == "int16" and zero == 0:
        return UNIT
    limits = np.iinfo(dtype)
    return factor * (int(limits.min) - zero), factor * (int(limits.max) - zero)


def tensor_of(spec: TensorSpec) -> Mapping[str, Any]:
    """A tensor as a card has it."""
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": [extent or 0 for extent in spec.shape],
        "layout": spec.layout,
    }


def counted(count: int, what: str) -> str:
    """``1 label``, ``2 labels``."""
    return f"{count} {what}{'' if count == 1 else 's'}"
