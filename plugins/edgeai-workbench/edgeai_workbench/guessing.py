"""What a first card says of a model's answers and of the pictures that go in: seen, or asked for, and never in silence.

Both kinds of first card (of a Keras model, of one that someone else made) are guessed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeai.api import Array, ConfigError, TensorSpec
from edgeai.bundle.manifest import TransformStep

CLASSIFY: Final = "classify"
SEGMENT: Final = "segment"
TASKS: Final = (CLASSIFY, SEGMENT)
MODES: Final = ("multi-class", "multi-label", "binary")
UNIT: Final = (0.0, 1.0)
BYTE: Final = (0.0, 255.0)
_SUM: Final = 0.03
_OVER: Final = 0.005
"""As far as probabilities may be from the sum of 1 and from the unit: what tasks allow."""
_WHOLE: Final = ("int8", "uint8", "int16", "uint16")
PICTURES: Final = (*_WHOLE, "float16", "float32", "float64")
"""What an input may take a picture as."""
_LABELS: Final = "a text file with one label a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """How answers become probabilities: options of the task."""

    mode: str
    activation: str

    def of(self, output: str) -> str:
        """The sentence about this output."""
        applied = "they are probabilities" if self.activation == "none" else f"a {self.activation} is applied to them"
        return f"output {output}: {self.mode}, {applied}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Makes errors of one code."""

    code: str

    def __call__(self, why: str, remedy: str) -> ConfigError:
        """The error."""
        return ConfigError(why, code=self.code, remedy=remedy)


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
        raise refused(
            f"{path} has {_counted(len(kept), 'label')}{holes}, the output {output} wants {wanted}", "one label a line"
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


# --- answers --------------------------------------------------------------------------------------


def check_answers(task: str, output: TensorSpec, refused: Refusal) -> int:
    """How many answers an output gives: for a frame, or for each place of a map.

    Raises:
        ConfigError: the task takes no such output.
    """
    shape, width = output.shape, output.shape[-1] if output.shape else None
    shown = "x".join(str(extent or "any") for extent in shape[1:]) or "a number"
    plane = len(shape) >= 3 and any(extent != 1 for extent in shape[1:-1])
    if task == CLASSIFY and plane:
        raise refused(f"output {output.name} is {shown}, a map: classify takes one row", f"--task {SEGMENT}")
    if task == SEGMENT and not plane:
        raise refused(f"output {output.name} is {shown}, no map: segment takes rows x columns", f"--task {CLASSIFY}")
    if width is None:
        raise refused(f"output {output.name} is {shown}: how many answers it gives is open", "fix its last extent")
    return int(width) if task == CLASSIFY or len(shape) > 3 else 1


def guess(task: str, width: int, output: str, *, mode: str, last: str, refused: Refusal) -> Guess | None:
    """What can be said before a model is asked; ``None`` where its answers have to tell (``guess_from``).

    Args:
        task: classify or segment.
        width: answers of the output.
        output: its name.
        mode: as the user gave it; empty for none.
        last: what gives the answers: ``softmax``, ``sigmoid``, ``none``, or another function; empty where unknown.
        refused: makes the error.

    Raises:
        ConfigError: a mode that does not go with it, or one that has to be asked for.
    """
    _check_mode(task, width, output, mode, refused)
    if last not in ("softmax", "sigmoid", "none"):
        return None
    several = width > 1
    if several and last == "sigmoid":
        if task == CLASSIFY and mode != "multi-label":
            raise refused(
                f"output {output} gives {width} sigmoids, which do not sum to 1: is it multi-label?",
                "--mode multi-label where several labels may apply at once; else end the model in a softmax",
            )
        return Guess(mode="multi-label", activation="none")
    if several and task == SEGMENT and last == "none" and not mode:
        raise refused(
            f"output {output} gives {width} numbers a place, and nothing says whether these exclude one another",
            "--mode multi-class where a place has exactly one label, --mode multi-label where it may have several",
        )
    chosen = mode or _default(task, width)
    applied = "softmax" if chosen == "multi-class" else "sigmoid"
    return Guess(mode=chosen, activation=applied if last == "none" else "none")


def guess_from(task: str, width: int, output: str, answers: Sequence[Array], *, mode: str, refused: Refusal) -> Guess:
    """What the answers themselves show: several that exclude one another sum to 1, or are made to by a softmax.

    Args:
        task: as ``guess``, like all but the answers.
        width: answers of the output.
        output: its name.
        answers: some of the output's, as real numbers.
        mode: as the user gave it; empty for none.
        refused: makes the error.

    Raises:
        ConfigError: they may be several probabilities as well as logits, and the mode has to be asked for.
    """
    _check_mode(task, width, output, mode, refused)
    values = np.concatenate([np.asarray(each, np.float64).reshape(-1, width) for each in answers])
    unit = bool(((values >= -_OVER) & (values <= 1 + _OVER)).all())
    whole = unit and bool((np.abs(values.sum(axis=1) - 1) <= _SUM).all())
    if width > 1 and unit and not whole and not mode:
        raise refused(
            f"output {output} gives {width} answers that do not sum to 1, so they are no softmax: is it multi-label?",
            "--mode multi-label where several labels may apply at once; --mode multi-class where exactly one does",
        )
    chosen = mode or _default(task, width, exclusive=whole or not unit)
    if chosen == "multi-class":
        return Guess(mode=chosen, activation="none" if whole else "softmax")
    return Guess(mode=chosen, activation="none" if unit else "sigmoid")


def _default(task: str, width: int, *, exclusive: bool = True) -> str:
    if width == 1:
        return "binary" if task == CLASSIFY else "multi-label"
    return "multi-class" if exclusive else "multi-label"


def _check_mode(task: str, width: int, output: str, mode: str, refused: Refusal) -> None:
    if mode and mode not in MODES:
        raise refused(f"--mode {mode}: there is no such mode", f"one of {', '.join(MODES)}")
    if mode == "multi-class" and width == 1:
        raise refused(f"--mode multi-class: output {output} gives one answer", "leave --mode out: it is binary")
    if mode == "binary" and (width > 1 or task == SEGMENT):
        takes = "a map takes multi-class or multi-label" if task == SEGMENT else f"{output} gives {width} answers"
        raise refused(f"--mode binary: {takes}", "--mode multi-class, or --mode multi-label")


# --- pictures -------------------------------------------------------------------------------------


def check_values(values: tuple[float, float], refused: Refusal) -> None:
    """Refuse black and white that are none."""
    black, white = values
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise refused(f"--values {black:g} {white:g}: white is not more than black", "e.g. --values -1 1")


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


def options_of(task: str, words: Sequence[str], chosen: Guess) -> dict[str, Any]:
    """The task's options."""
    options: dict[str, Any] = {"labels": list(words), "activation": chosen.activation}
    if task == CLASSIFY or chosen.mode == "multi-class":
        options["mode"] = chosen.mode
    return options


def tensor_of(spec: TensorSpec) -> Mapping[str, Any]:
    """A tensor as a card has it."""
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": [extent or 0 for extent in spec.shape],
        "layout": spec.layout,
    }


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
