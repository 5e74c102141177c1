"""What the packer of a foreign model says of it, held to what can be known before the model is loaded."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgeai.api import Array
from edgeai_workbench.guessing import UNIT, Refusal, check_values, lines_of
from edgeai_workbench.tables import SLUG
from edgeai_workbench.tries import Told, tasks_told

refused: Final = Refusal("build.foreign-model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What its packer knows of the model.

    Attributes:
        task: a word for a task; empty for the one that reads such an output.
        name: of the bundle; by default the file's.
        labels: a file of labels, one a line; numbered without.
        images: pictures and DICOM files, some of which become golden cases through the card's transforms.
        inputs: an ``.npz`` of golden inputs, one array an input, whose first axis counts cases; without both, the
            golden inputs are random.
        mode: how labels go together; empty where the model shows it.
        values: what black and white are to the input, as real numbers; ``None``: 0 and 1, or what an input of whole
            numbers says by its own scale.
        size: rows and columns, of a model that takes any; by default those of golden inputs, or about those of the
            images.
    """

    task: str = ""
    name: str = ""
    labels: Path | None = None
    images: Path | None = None
    inputs: Path | None = None
    mode: str = ""
    values: tuple[float, float] | None = None
    size: tuple[int, int] | None = None

    @property
    def told(self) -> Told:
        """What of it is about the answers."""
        return Told(task=self.task, mode=self.mode, labels=self.labels)


def check_known(known: Foreign) -> None:
    """Refuse what no model fits, before one is loaded.

    Raises:
        ConfigError: ``build.foreign-model``.
    """
    if known.name and not re.fullmatch(SLUG, known.name):
        raise refused(
            f"--name {known.name!r} is no name of a bundle",
            "use a-z, 0-9, . _ and -, beginning with a letter or digit, at most 64 characters",
        )
    tasks_told(known.told, refused)
    check_values(known.values or UNIT, refused)
    if known.labels is not None:
        lines_of(known.labels, refused)
    if known.inputs is not None:
        arrays_in(known.inputs)
    if known.images is not None and not known.images.is_dir():
        raise refused(f"{known.images}: no such folder", "--images names a folder of pictures or DICOM files")


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
