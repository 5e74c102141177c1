"""The network: the first seven blocks of MobileNetV2 on one grey plane, and one dense layer; 74,000 weights.

Blocks 0 to 3 stay as they came, so what they make of the training images is computed once; blocks 4 to 6 and the dense
layer learn.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from guard.backbone import halves

FROZEN, LAST = 3, 6
"""Blocks of the backbone: the last that stays as it came, and the last there is."""


def low_half(backbone: Path, rows: int, columns: int) -> keras.Model:
    """The part that does not learn: (n, rows, columns, 1) in 0 to 1 -> features."""
    return halves(backbone, rows, columns, frozen=FROZEN, last=LAST)[0]


def features(low: keras.Model, images: npt.NDArray[np.uint8], batch: int = 200) -> npt.NDArray[np.float16]:
    """``low`` of 8-bit images (n, rows, columns), in half precision to save memory."""
    parts = [images[at : at + batch, ..., np.newaxis].astype(np.float32) / 255 for at in range(0, len(images), batch)]
    return np.concatenate([np.asarray(low(part, training=False)).astype(np.float16) for part in parts])


def fit(
    backbone: Path,
    found: npt.NDArray[np.float16],
    labels: npt.NDArray[np.int64],
    shape: tuple[int, int],
    *,
    seed: int,
    epochs: int,
    batch: int = 64,
) -> keras.Model:
    """Train on features; labels weigh alike whatever their number. Gives ``image`` -> ``logits``."""
    keras.utils.set_random_seed(seed)
    low, high = halves(backbone, *shape, frozen=FROZEN, last=LAST)
    count = int(labels.max()) + 1
    end = high.outputs[0]
    # The mean sees texture all over, the maximum sees one telling place (a fan on a dark screen).
    pooled = layers.Concatenate()([layers.GlobalAveragePooling2D()(end), layers.GlobalMaxPooling2D()(end)])
    head = keras.Model(high.inputs, layers.Dense(count, name="scores")(layers.Dropout(0.3)(pooled)), name="head")
    steps = epochs * -(-len(found) // batch)
    rate = keras.optimizers.schedules.CosineDecay(1e-4, steps, warmup_target=1e-3, warmup_steps=steps // 15)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    head.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), loss, metrics=["accuracy"])
    weights = (len(labels) / count / np.bincount(labels, minlength=count))[labels].astype(np.float32)
    targets = np.eye(count, dtype=np.float32)[labels]
    head.fit(found, targets, sample_weight=weights, batch_size=batch, epochs=epochs, verbose=2)
    plain = keras.Model(head.inputs, head.outputs, name="trained")  # without the optimiser's state
    image = keras.Input((*shape, 1), name="image")
    return keras.Model(image, layers.Identity(name="logits")(plain(low(image))), name="modality_guard")
