"""Draw phantoms.jpg, the picture of the report: a row of each kind that the guard learns from, none of a patient."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from guard import natural, ordinary, radiograph, slices, ultrasound

ROWS = (
    radiograph.phantom,
    lambda rng: ultrasound.scanner_screen(rng, ultrasound.speckle(rng)),
    slices.ct,
    slices.mr,
    slices.nuclear,
    ordinary.document,
    ordinary.pattern,
    natural.dead_leaves,
)
SIDE, COLUMNS = 96, 10


def main() -> None:
    rng = np.random.default_rng(7)
    rows = []
    for draw in ROWS:
        tiles = [
            cv2.resize(np.clip(draw(rng), 0, 1), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for _ in range(COLUMNS)
        ]
        rows.append(np.hstack([np.pad(tile, 1) for tile in tiles]))
    sheet = (np.vstack(rows) * 255).round().astype(np.uint8)
    cv2.imwrite(str(Path(__file__).parent / "phantoms.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
