"""The data kit's pictures, each with the group that may not be on both sides of a split."""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
GROUPS = {"xray_view": "patient_id", "us_head": "exam_group", "us_breast": "cluster", "xray_pneumonia28": "index"}
PARTS = 4
"""One part of so many, by whole groups, is held out while anything is chosen."""


@dataclass(frozen=True, slots=True)
class Kit:
    """The pictures of one folder: those to learn from, and those held out."""

    learnt: list[Grey]
    held: list[Grey]

    @property
    def everything(self) -> list[Grey]:
        """Both."""
        return [*self.learnt, *self.held]


def kit(data: Path, folder: str, table: str = "train") -> Kit:
    """Read the pictures that ``labels_<table>.csv`` names, dealt by group."""
    rows = list(csv.DictReader((data / folder / f"labels_{table}.csv").open(encoding="utf-8")))
    archive = data / folder / "data.npz"
    stored = np.load(archive)[f"{table}_images"] if archive.is_file() else None
    parts: tuple[list[Grey], list[Grey]] = ([], [])
    for row in rows:
        group = f"{folder}/{row[GROUPS[folder]]}"
        image = _grey(data / folder / row["file"]) if stored is None else np.squeeze(stored[int(row["index"])])
        parts[zlib.crc32(group.encode()) % PARTS == 0].append(image)
    return Kit(*parts)


def _grey(path: Path) -> Grey:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
