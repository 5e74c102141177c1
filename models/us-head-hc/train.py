"""Make the network for the fetal head's circumference: ``edgeai train models/us-head-hc --data DIR``.

us-head outlines the head, and learnt to on these same training images. Its outline has an area, a centre and second
moments; the ellipse of those moments has a circumference (Ramanujan 1914), and a straight line, fitted to the training
images, takes away by how much that is off on average.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgeai_keras.training import predict, save
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import Reference, begin

OUTLINER = Path("us-head") / "variants" / "student" / "model.keras"
SHARPNESS = 0.25
"""How much more inside a pixel is for each unit of its logit: from 0 at -2 to 1 at 2; what is far off has no weight."""


def network(outliner: Any) -> Any:
    """The outliner with what measures behind it; one number, in pixels of what it sees."""
    for layer in outliner.layers:
        layer.trainable = False
    (image,) = outliner.inputs
    return keras.Model(image, measure(int(image.shape[1]))(outliner.output), name="us_head_hc")


def measure(size: int) -> Any:
    """(size, size, 1) logits to the circumference of the ellipse that has their moments."""
    logits = keras.Input((size, size, 1), name="logits")
    inside = layers.ReLU(max_value=1.0, name="inside")(layers.Rescaling(SHARPNESS, 0.5, name="rescaled")(logits))
    across = layers.Dense(3, use_bias=False, name="across")(layers.Reshape((size, size), name="plane")(inside))
    down = layers.Dense(3, use_bias=False, name="down")(layers.Permute((2, 1), name="turned")(across))
    around = _circumference(layers.Flatten(name="moments")(down)) * (size / 2)
    model = keras.Model(logits, layers.Dense(1, name="line")(around), name="circumference")
    powers = np.vander((np.arange(size) + 0.5) * 2 / size - 1, 3, increasing=True)
    for name in ("across", "down"):
        model.get_layer(name).set_weights([powers])
    return model


def _circumference(moments: Any) -> Any:
    """Of (n, 9) sums of x to the power of i times y to the power of j, at place 3 i + j; in units of x and y."""
    area, y, yy, x, xy, xx = (moments[:, place : place + 1] for place in (0, 1, 2, 3, 4, 6))
    area = ops.maximum(area, 1.0)  # a picture without a head has the circumference 0, and no division by it
    x, y = x / area, y / area
    xx, xy, yy = xx / area - x * x, xy / area - x * y, yy / area - y * y
    middle, off = (xx + yy) / 2, ops.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    long, short = (2 * ops.sqrt(ops.maximum(half, 0.0)) for half in (middle + off, middle - off))
    return np.pi * (3 * (long + short) - ops.sqrt((3 * long + short) * (long + 3 * short)))


def fit_line(model: Any, reference: Reference) -> None:
    """Give the last layer the line that is off least from the training images' circumferences, in squared mm."""
    straight = model.get_layer("circumference").get_layer("line")
    straight.set_weights([np.ones((1, 1)), np.zeros(1)])
    (given,) = predict(model, reference.train.inputs).values()
    (wanted,) = reference.train.targets.values()
    mm = [_mm_per_pixel(context.frame) for context in reference.train.contexts]
    slope, height = np.polyfit(given.ravel(), wanted.ravel(), 1, w=mm)
    straight.set_weights([np.array([[slope]]), np.array([height])])


def _mm_per_pixel(frame: Any) -> float:
    """Of what the network sees."""
    return float(frame.geometry.pixel_spacing_mm[0] * frame.geometry.affine[0])


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    model = network(keras.saving.load_model(reference.folder.parent / OUTLINER, compile=False))
    fit_line(model, reference)
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(2)])


if __name__ == "__main__":
    main()
