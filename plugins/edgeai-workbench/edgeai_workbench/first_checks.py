"""What a first try is told, held to what a model's description and the folders say; before anything is loaded."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeai.api import Described, TensorSpec
from edgeai.bundle.manifest import TransformStep
from edgeai_workbench.dataset import Sample, read_folder
from edgeai_workbench.extents import fixed, of_pictures
from edgeai_workbench.guessing import Refusal, check_taken, check_values, counted, shown, steps_of
from edgeai_workbench.tries import Asked, Reading, Told, reading_of

refused: Final = Refusal("build.first-try")
PICTURES: Final = ("quantisation looks at images", "say where some are: --calibration DIR")
_EACH: Final = 3
"""Pictures of a label from which on every third is judged on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user of a model knows of it.

    Attributes:
        task: a word for a task; empty for the one that reads such an output.
        labels: a file of labels, one a line; numbered without.
        images: pictures and DICOM files to calibrate on; with one sub-folder a label, to judge on too.
        mode: how labels go together; empty where the model shows it.
        values: what black and white are to the input; ``None`` where its first layers show it.
        size: rows and columns, of a model that takes any.
    """

    task: str = ""
    labels: Path | None = None
    images: Path | None = None
    mode: str = ""
    values: tuple[float, float] | None = None
    size: tuple[int, int] | None = None

    @property
    def told(self) -> Told:
        """What of it is about the answers."""
        return Told(task=self.task, mode=self.mode, labels=self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the card will say.

    Attributes:
        source, target: the model's one input and output, for a batch of one.
        asked: what is known of the target; its answers are not yet.
        reading: which task reads it, and how; perhaps answers have to show some of it.
        steps: from a picture to the input.
        samples: all pictures, with their labels where sub-folders say them.
        images: their folder.
        notes: what was seen and assumed.
    """

    source: TensorSpec
    target: TensorSpec
    asked: Asked
    reading: Reading
    steps: tuple[TransformStep, ...]
    samples: tuple[Sample, ...]
    images: Path
    notes: tuple[str, ...]


def planned(model: str, described: Described, wish: Wish) -> Plan:
    """The plan of a first try, or what is wrong with it.

    Raises:
        ConfigError: ``build.first-try``.
        DataRejected: folders that cannot be used.
    """
    source, target = _tensors(model, described, wish)
    asked = Asked(output=target, activation=described.activations.get(target.name, ""))
    reading = reading_of(asked, wish.told, refused)
    ends, doubts = _values(described, source, wish)
    if wish.images is None:
        raise refused(*PICTURES)
    samples, more = _pictures(wish.images, reading, target, wish)
    middle = samples[len(samples) // 2]
    source, sized = fixed(source, wish.size, lambda: of_pictures(middle.load()[0]), refused)
    rows, columns, channels = (int(extent or 0) for extent in source.shape[1:])
    steps, ends = steps_of(rows=rows, columns=columns, colour=channels == 3, dtype=source.dtype, values=ends)
    return Plan(
        source=source,
        target=target,
        asked=asked,
        reading=reading,
        steps=tuple(steps),
        samples=samples,
        images=wish.images,
        notes=(*described.notes, *sized, _range_note(described, source, wish, ends), *doubts, *reading.notes, *more),
    )


def _tensors(model: str, described: Described, wish: Wish) -> tuple[TensorSpec, TensorSpec]:
    write = "write a card for it: docs/reference/card.md"
    if len(described.inputs) != 1 or len(described.outputs) != 1:
        names = ", ".join(spec.name for spec in (*described.inputs, *described.outputs))
        counts = f"{counted(len(described.inputs), 'input')} and {counted(len(described.outputs), 'output')}"
        raise refused(f"{model} has {counts} ({names}); a first try takes one of each", write)
    source, target = described.inputs[0], described.outputs[0]
    extents = shown(source.shape)
    if len(source.shape) != 4 or source.shape[3] not in (1, 3):
        kind = "channels come first" if len(source.shape) == 4 and source.shape[1] in (1, 3) else "no grey or RGB image"
        raise refused(f"input {source.name} is {extents}: {kind}", f"rows x columns x 1 or 3 is taken; else {write}")
    if source.shape[0] not in (None, 1):
        raise refused(
            f"input {source.name} is {extents}: it takes {source.shape[0]} images at a time, a device gives one",
            "save it with an open batch: keras.Input(shape) in place of keras.Input(batch_shape=...)",
        )
    return (
        TensorSpec(name=source.name, dtype=source.dtype, shape=(1, *source.shape[1:]), layout="NHWC"),
        TensorSpec(name=target.name, dtype=target.dtype, shape=(1, *target.shape[1:])),
    )


def _values(described: Described, source: TensorSpec, wish: Wish) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """What black and white are to the input, and what speaks against it; ``None`` where nobody says."""
    taken = described.ranges.get(source.name)
    if wish.values is not None:
        check_values(wish.values, refused)
        return wish.values, check_taken(wish.values, taken, source.name, refused)
    if source.name in described.ranges and taken is None:
        raise refused(
            f"the first layers behind input {source.name} rescale it from a range that is none of the usual ones",
            "say what black and white are to it: --values 0 1, --values -1 1, --values 0 255, ...",
        )
    return taken, ()


def _range_note(described: Described, source: TensorSpec, wish: Wish, ends: tuple[float, float]) -> str:
    shown = f"input {source.name}: black is {ends[0]:g}, white is {ends[1]:g}"
    if wish.values is not None:
        return f"{shown}, as --values says"
    if source.name in described.ranges:
        return f"{shown}, as its first layers take it"
    return f"{shown} is assumed, since its first layers say nothing; --values BLACK WHITE says otherwise"


def _pictures(
    images: Path, reading: Reading, target: TensorSpec, wish: Wish
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """All pictures; with their labels, where there is one sub-folder for each, and that says what is true."""
    samples = read_folder(images)
    below = sorted(path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    judge = reading.judge((target,)) if below else None
    if judge is None or not judge.folders:
        return samples, ()
    words = tuple(judge.folders)
    if wish.labels is None:
        return samples, (f"sub-folders {_some(below)} are not judged by: --labels says which answer is whose",)
    if not set(below) & set(words):
        if near := [(name, word) for name in below if (word := _near(name, words))]:
            raise refused(
                f"{images}: no sub-folder is called as a label; {near[0][0]} is nearly {near[0][1]}",
                "name sub-folders exactly as the labels, or put the pictures into no sub-folder",
            )
        raise refused(
            f"{images}: its sub-folders are {_some(below)}, and none is called as a label ({_some(words)})",
            "name sub-folders exactly as the labels, to be judged by; or put the pictures into no sub-folder",
        )
    labelled = read_folder(images, dict.fromkeys(words, True))
    count = Counter(sample.id.partition("/")[0] for sample in labelled)
    if few := [word for word in words if count[word] < _EACH]:
        raise refused(
            f"{images}: label {few[0]} has {count[few[0]]} pictures; every third is judged on, so {_EACH} are needed",
            "add pictures, or put all of them into one folder: then artifacts are only compared with the model",
        )
    return labelled, ()


def _near(name: str, words: Sequence[str]) -> str:
    lower = {word.casefold(): word for word in words}
    close = difflib.get_close_matches(name.casefold(), lower, n=1, cutoff=0.75)
    return lower[close[0]] if close else ""


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
