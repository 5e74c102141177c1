"""Three convolutions, each with a pooling behind it, and a score a label of what is where: 5,200 weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from anatomy.images import LABELS, Images

FILTERS = (8, 16, 20)
BATCH = 128
LEARNING_RATE = 4e-3
EPOCHS = 12
SMOOTHING = 0.02


def network() -> Any:
    """``image`` (1, 28, 28, 1) in 0 to 1 -> ``logits``. No mean over the plane: it could not tell up from down."""
    image = keras.Input((28, 28, 1), name="image")
    x: Any = image
    for number, filters in enumerate(FILTERS, start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv_{number}")(x)
        x = layers.ReLU(name=f"relu_{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    x = layers.Dropout(0.15, name="dropout")(layers.Flatten(name="flatten")(x))
    return keras.Model(image, layers.Dense(len(LABELS), name="logits")(x), name="anatomy")


def fit(images: Images, labels: np.ndarray, epochs: int = EPOCHS) -> Any:
    """A trained network."""
    model = network()
    steps = epochs * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING),
        jit_compile=False,
    )
    truth = np.eye(len(LABELS), dtype=np.float32)[labels]
    model.fit(images[..., np.newaxis] / np.float32(255), truth, batch_size=BATCH, epochs=epochs, verbose=2)
    return model


def probabilities(model: Any, images: Images) -> np.ndarray:
    """(n, labels) of (n, 28, 28) images of 8 bit."""
    logits = np.asarray(model.predict(images[..., np.newaxis] / np.float32(255), batch_size=512, verbose=0))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
