"""What the packer of a foreign model says of it, held to what can be known before the model is loaded."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeai.api import Array, ConfigError
from edgeai.build.tables import SLUG

TASKS = ("classify", "segment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What its packer knows of the model.

    Attributes:
        task: ``classify`` or ``segment``.
        name: of the bundle; by default the file's.
        labels: a file of labels, one a line; numbered without.
        images: pictures and DICOM files, some of which become golden cases through the card's transforms.
        inputs: an ``.npz`` of golden inputs, one array an input, whose first axis counts cases; without both, the
            golden inputs are random.
        values: what the least and the greatest stored value of a picture are to a float32 input.
    """

    task: str = "classify"
    name: str = ""
    labels: Path | None = None
    images: Path | None = None
    inputs: Path | None = None
    values: tuple[float, float] = (0.0, 1.0)


def refused(why: str, remedy: str) -> ConfigError:
    """``build.foreign-model``."""
    return ConfigError(why, code="build.foreign-model", remedy=remedy)


def check_known(known: Foreign) -> None:
    """Refuse what no model fits, before one is loaded.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    if known.task not in TASKS:
        raise refused(f"task {known.task}: its options cannot be guessed", "write a card: docs/reference/card.md")
    if known.name and not re.fullmatch(SLUG, known.name):
        raise refused(
            f"--name {known.name!r} is no name of a bundle",
            "use a-z, 0-9, . _ and -, beginning with a letter or digit, at most 64 characters",
        )
    black, white = known.values
    if not (math.isfinite(black) and math.isfinite(white) and black < white):
        raise refused(f"--values {black:g} {white:g}: white is not more than black", "e.g. --values -1 1")
    if known.labels is not None and not lines_of(known.labels):
        raise refused(f"{known.labels} has no label", "a text file with one label a line")
    if known.inputs is not None:
        arrays_in(known.inputs)
    if known.images is not None and not known.images.is_dir():
        raise refused(f"{known.images}: no such folder", "--images names a folder of pictures or DICOM files")


def lines_of(labels: Path) -> list[str]:
    """The lines of a file of labels that are not empty.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    try:
        return [line.strip() for line in labels.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise refused(f"{labels}: {error.strerror or error}", "a text file with one label a line") from error
    except UnicodeDecodeError as error:
        raise refused(f"{labels}: it is no text in UTF-8", "a text file with one label a line") from error


def arrays_in(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    remedy = "an .npz file, one array an input: numpy.savez(FILE, input=cases)"
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise refused(f"{path}: it is no .npz file", remedy)
        with np.load(path, allow_pickle=False) as arrays:
            given = {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise refused(f"{path}: {error.strerror or error}", remedy) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise refused(f"{path}: it cannot be read: {error}", remedy) from error
    if any(array.ndim == 0 for array in given.values()):
        raise refused(f"{path}: an array of it is a single number", "the first axis counts cases")
    return given
