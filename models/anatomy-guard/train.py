"""Train the anatomy guard: ``python models/anatomy-guard/train.py --data DIR`` (the data kit).

Writes ``anatomy-guard.keras`` and the golden cases, and prints what the card must say of them. A quarter of each of the
kit's training tables, by whole groups, is held out: ``evaluate.py`` judges by that.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "modality-guard"))  # its drawings and pictures

import cv2
import numpy as np
from anatomy import images
from guard import pictures
from guard.dataset import Preparation

from edgeai_workbench.card import file_digest, read_card
from edgeai_workbench.drawings import bright, chest
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.repetition import processor

HERE = Path(__file__).resolve().parent
SEED = 13
COUNT = 24_000


def golden_cases(model: Any, prepare: Preparation) -> list[Golden]:
    """A drawn chest, and the brightest image there is: no patient's image ships in the bundle."""
    cases = []
    for name, drawing in (("drawing-0", chest(0)), ("bright", bright(rows=28, columns=28))):
        image = prepare(drawing)[np.newaxis, ..., np.newaxis]
        logits = np.asarray(model(image, training=False), np.float32)
        cases.append(Golden(id=name, inputs={"image": image}, outputs={"logits": logits}))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data kit's folder")
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    cv2.setNumThreads(1)

    prepare = Preparation(read_card(HERE))
    have = images.pools(wanted.data, SEED)
    shown, labels = images.training_set(have, COUNT, SEED, prepare)

    import tensorflow as tf
    from anatomy import network

    from edgeai_keras.training import save, set_seed

    tf.config.threading.set_intra_op_parallelism_threads(wanted.threads)
    set_seed(SEED)
    model, path = network.fit(shown, labels), HERE / "anatomy-guard.keras"
    save(model, path)
    write_golden(HERE, golden_cases(model, prepare), parent=file_digest(path))
    print(f"{path.name}: {model.count_params()} weights, {path.stat().st_size} bytes, {file_digest(path)}")
    sources = {"hannover": have.chest, "kermany-28": have.child, "hc18": have.head, "busi": have.breast}
    for name, pool in sources.items():
        print(f"data {name}: {pictures.digest(pool.everything)}")
    for distribution in ("keras", "tensorflow", "numpy", "opencv-python-headless"):
        print(f"{distribution} = {metadata.version(distribution)}")
    print(f"processor = {processor()}")


if __name__ == "__main__":
    main()
