"""Train the modality guard: ``python models/modality-guard/train.py --data DIR`` (the data kit).

Writes ``modality-guard.keras``, whose head learned from every source; ``folds/held-out.npz``, a head for each origin
that learned from all the others, for ``evaluate.py``; the golden cases; and what the card must say of them.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt
from guard import dataset, radiograph, slices, ultrasound

from edgeai_workbench.card import file_digest, read_card
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.repetition import processor

HERE = Path(__file__).resolve().parent
CHUNK = 500


def _chunk(job: tuple[Path, int, int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    data, seed, count = job
    import cv2

    cv2.setNumThreads(1)
    prepare = dataset.Preparation(read_card(HERE))
    return dataset.training_set(dataset.sources(data, "train"), count, seed, prepare)


def training_images(data: Path, count: int, seed: int, cache: Path | None) -> tuple[npt.NDArray[np.generic], ...]:
    """(images, labels, numbers of sources) of ``count`` samples, from ``cache`` where it exists."""
    if cache is not None and cache.is_file():
        kept = np.load(cache)
        return kept["images"], kept["labels"], kept["origins"]
    jobs = [(data, seed * 100_000 + number, CHUNK) for number in range(count // CHUNK)]
    with ProcessPoolExecutor(2) as pool:
        images, labels, origins = (np.concatenate(part) for part in zip(*pool.map(_chunk, jobs), strict=True))
    if cache is not None:
        np.savez(cache, images=images, labels=labels, origins=origins)
    return images, labels, origins


def golden_cases(model: Any, seed: int) -> list[Golden]:
    """One phantom of each label, and what the model answers: no patient's image ships in the bundle."""
    prepare = dataset.Preparation(read_card(HERE))
    rng = np.random.default_rng(seed)
    cases = []
    for label, draw in zip(dataset.LABELS, (radiograph.phantom, ultrasound.phantom, slices.ct), strict=True):
        image = prepare((draw(rng) * 255).round().astype(np.uint8))[np.newaxis, ..., np.newaxis]
        logits = np.asarray(model(image, training=False), np.float32)
        cases.append(Golden(id=f"phantom-{label}", inputs={"image": image}, outputs={"logits": logits}))
    return cases


def held_out_heads(
    found: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], origins: npt.NDArray[np.str_]
) -> dict[str, npt.NDArray[np.float32]]:
    """Origin -> the head that learned from all the others."""
    from guard import network

    heads = {}
    for origin in sorted(set(origins)):
        heads[str(origin)] = network.fit(found[origins != origin], labels[origins != origin])
        print(f"held out: {origin}", flush=True)
    return heads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data kit's folder")
    parser.add_argument("--count", type=int, default=20_000, help="training images to draw")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--cache", type=Path, help="keep the drawn images in this .npz")
    wanted = parser.parse_args()

    provenance = dataset.provenance(wanted.data)
    images, labels, numbers = training_images(wanted.data, wanted.count, wanted.seed, wanted.cache)

    import tensorflow as tf
    from guard import backbone, network

    tf.config.threading.set_intra_op_parallelism_threads(wanted.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pretrained = wanted.data / backbone.FILE
    trunk = network.pooled(pretrained, images.shape[1], images.shape[2])
    found = network.features(trunk, images)
    heads = held_out_heads(found, labels, np.array([s.origin for s in dataset.sources(wanted.data, "train")])[numbers])
    (HERE / "folds").mkdir(exist_ok=True)
    np.savez(HERE / "folds" / "held-out.npz", **heads)

    model, path = network.whole(trunk, network.fit(found, labels)), HERE / "modality-guard.keras"
    model.save(path)
    write_golden(HERE, golden_cases(model, wanted.seed), parent=file_digest(path))
    print(f"{path.name}: {model.count_params()} weights, {path.stat().st_size} bytes, {file_digest(path)}")
    print(f"data {backbone.FILE}: {file_digest(pretrained)}")
    for source, digest in provenance.items():
        print(f"data {source}: {digest}")
    for distribution in ("keras", "tensorflow", "numpy", "scipy", "opencv-python-headless"):
        print(f"{distribution} = {metadata.version(distribution)}")
    print(f"processor = {processor()}")


if __name__ == "__main__":
    main()
