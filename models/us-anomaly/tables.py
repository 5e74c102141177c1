"""Make the tables of us-anomaly out of the data kit: ``python models/us-anomaly/tables.py --kit KIT --out DIR``.

The kit has no table of usual and unusual images. DIR becomes the ``--data`` of ``edgeai train`` and ``edgeai build``:
fetal heads are usual; radiographs, breasts and spoilt frames of the same heads are not. The same kit, the same files.

    us_anomaly/train.csv         usual images alone
    us_anomaly/validation.csv    usual ones of other examinations, and unusual ones: radiographs, breasts, spoilt frames
    us_anomaly/test.csv          the same of the kit's own validation tables
"""

from __future__ import annotations

import argparse
import csv
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from edgeai.api import Array

Row: TypeAlias = dict[str, str]
HEADS = "us_head"
OTHERS = {"xray_view": "radiograph", "us_breast": "breast"}
GROUPS = {HEADS: "exam_group", "xray_view": "patient_id", "us_breast": "cluster"}
COLUMNS = ("file", "unusual", "kind", "group")
OF_FOUR = 4
"""Each fourth examination is for validation: 98 % of usual images can be told of fifty at least."""


def torn(frame: Array, random: np.random.Generator) -> Array:
    """From some row on, everything lies elsewhere: a line was lost on the way."""
    at, by = int(frame.shape[0] * random.uniform(0.3, 0.6)), int(frame.shape[1] * random.uniform(0.25, 0.5))
    return np.vstack((frame[:at], np.roll(frame[at:], by, axis=1)))


def stripes(frame: Array, random: np.random.Generator) -> Array:
    """Bands of noise, a quarter of the picture: an interference."""
    bands = (np.arange(frame.shape[0]) + int(random.integers(16))) % 16 < 4
    noise = random.integers(0, 256, frame.shape, np.uint8)
    return np.where(bands[:, np.newaxis], noise, frame)


def snow(frame: Array, random: np.random.Generator) -> Array:
    """Noise all over."""
    return np.clip(frame + random.normal(0, random.uniform(35, 60), frame.shape), 0, 255).astype(np.uint8)


def tiles(frame: Array, random: np.random.Generator) -> Array:
    """Sixteen tiles in another order: blocks that were put together wrongly."""
    rows, columns = (extent // 4 for extent in frame.shape)
    cut = [frame[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] for y in range(4) for x in range(4)]
    order = random.permutation(16)
    return np.vstack([np.hstack([cut[order[4 * y + x]] for x in range(4)]) for y in range(4)])


def negative(frame: Array, random: np.random.Generator) -> Array:
    """Black is white."""
    return 255 - frame


def stuck(frame: Array, random: np.random.Generator) -> Array:
    """From some row on, that row again and again: a stream that stood still."""
    at = int(frame.shape[0] * random.uniform(0.3, 0.5))
    return np.vstack((frame[:at], np.repeat(frame[at : at + 1], frame.shape[0] - at, axis=0)))


SPOILT: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "torn": torn,
    "stripes": stripes,
    "snow": snow,
    "tiles": tiles,
    "negative": negative,
    "stuck": stuck,
}


def rows_of(kit: Path, folder: str, table: str) -> list[Row]:
    with (kit / folder / f"labels_{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def chosen_for_validation(row: Row) -> bool:
    """By the examination, so that none is in two tables."""
    return zlib.crc32(row[GROUPS[HEADS]].encode()) % OF_FOUR == 0


def pixels_of(kit: Path, folder: str, row: Row) -> Array:
    return np.asarray(Image.open(kit / folder / row["file"]).convert("L"))


def usual(kit: Path, rows: Sequence[Row]) -> Iterator[tuple[Array, Row]]:
    for row in rows:
        name = f"head-{Path(row['file']).stem}.png"
        yield (
            pixels_of(kit, HEADS, row),
            {"file": name, "unusual": "0", "kind": "head", "group": f"h{row['exam_group']}"},
        )


def unusual(kit: Path, table: str, heads: Sequence[Row]) -> Iterator[tuple[Array, Row]]:
    """All of the other folders, and one spoilt frame of each head, of each kind in turn."""
    for folder, kind in OTHERS.items():
        for row in rows_of(kit, folder, table):
            name, group = f"{kind}-{Path(row['file']).stem}.png", f"{kind}-{row[GROUPS[folder]]}"
            yield pixels_of(kit, folder, row), {"file": name, "unusual": "1", "kind": kind, "group": group}
    for number, row in enumerate(heads):
        kind = list(SPOILT)[number % len(SPOILT)]
        random = np.random.default_rng(zlib.crc32(row["file"].encode()))
        name = f"{kind}-{Path(row['file']).stem}.png"
        pixels = SPOILT[kind](pixels_of(kit, HEADS, row), random)
        yield pixels, {"file": name, "unusual": "1", "kind": "spoilt", "group": f"h{row['exam_group']}"}


def write(out: Path, name: str, images: Iterator[tuple[Array, Row]]) -> None:
    """``NAME.csv`` and its images in ``NAME/``."""
    folder = out / "us_anomaly"
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for pixels, row in images:
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name / row["file"], compress_level=1)
            table.writerow({**row, "file": f"{name}/{row['file']}"})


def both(kit: Path, table: str, heads: Sequence[Row]) -> Iterator[tuple[Array, Row]]:
    yield from usual(kit, heads)
    yield from unusual(kit, table, heads)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kit", type=Path, required=True, help="the data kit")
    parser.add_argument("--out", type=Path, required=True, help="where the tables go")
    wanted = parser.parse_args()
    heads = rows_of(wanted.kit, HEADS, "train")
    write(wanted.out, "train", usual(wanted.kit, [row for row in heads if not chosen_for_validation(row)]))
    write(wanted.out, "validation", both(wanted.kit, "train", [row for row in heads if chosen_for_validation(row)]))
    write(wanted.out, "test", both(wanted.kit, "val", rows_of(wanted.kit, HEADS, "val")))


if __name__ == "__main__":
    main()
