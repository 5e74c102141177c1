"""Train the autoencoder of fetal ultrasound: ``edgeai train models/us-anomaly --data DIR``; ``tables.py`` makes DIR.

It gives back the structure of usual images (the card's transforms) through a bottleneck, and learns from usual ones
alone. It is linear: of such an autoencoder the principal components are the least squared error there is (Baldi and
Hornik 1989), so that they are computed and not descended to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgeai.api import Array
from edgeai.pipeline import Pipeline
from edgeai_keras.augment import augmented
from edgeai_keras.frameworks import keras
from edgeai_keras.training import predict, save, set_seed
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import Reference, begin

CODE = 64
TIMES = 8
"""How often each image is shown: once as it is, and otherwise moved (``[training.augment]``)."""
WHITE = 255.0


def network(mean: Array, components: Array) -> Any:
    """Structure to its code and back.

    Args:
        mean: (rows, columns, samples) of usual images.
        components: (code, rows * columns * samples), orthonormal.
    """
    image = keras.Input(mean.shape, name="image")
    code = keras.layers.Dense(len(components), name="code")
    back = keras.layers.Dense(mean.size, name="back")
    made = back(code(keras.layers.Flatten(name="flat")(image)))
    model = keras.Model(image, keras.layers.Reshape(mean.shape, name="made")(made), name="linear-autoencoder")
    code.set_weights([components.T, -components @ mean.ravel()])
    back.set_weights([components, mean.ravel()])
    return model


def shown(reference: Reference) -> Array:
    """(n, rows, columns, samples): usual images as the model sees them, as they are and moved.

    They are moved before the card's transforms: of a turned image the structure is another, and not the same turned.
    """
    frames = [sample.load()[0] for sample in reference.train.samples]
    planes = np.stack([frame.pixels for frame in frames])[..., np.newaxis].astype(np.float32) / WHITE
    change = augmented(reference.card.training.augment, reference.seed)
    spec = reference.shop.inputs[0]
    pipeline = Pipeline(reference.card.transforms, reference.shop.registry.transforms, spec)
    seen = [reference.train.inputs[spec.name]]
    for _ in range(TIMES - 1):
        moved = change(({spec.name: planes}, {}))[0][spec.name]
        whole = np.rint(np.clip(moved[..., 0], 0.0, 1.0) * WHITE).astype(np.uint8)
        pairs = zip(frames, whole, strict=True)
        seen.append(np.concatenate([pipeline.prepare(replace(frame, pixels=pixels))[0] for frame, pixels in pairs]))
    return np.concatenate(seen).astype(np.float64)


def learnt(seen: Array, count: int) -> tuple[Array, Array]:
    """The mean, and so many principal components, of what was shown."""
    mean = seen.mean(axis=0)
    off = (seen - mean).reshape(len(seen), -1)
    _, vectors = np.linalg.eigh(off.T @ off)
    return mean, vectors[:, ::-1][:, :count].T


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    set_seed(reference.seed)
    model = network(*learnt(shown(reference), CODE))
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(2)])


if __name__ == "__main__":
    main()
