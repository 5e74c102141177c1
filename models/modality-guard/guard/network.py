"""The network: MobileNetV2 on one grey plane up to where its eighth block widens, and a linear layer: 101,000 weights.

Nothing of the backbone is trained here: fine-tuned on a handful of scanners, it forgets what tells it of the next one.
So the features of an image are computed once, and each head, also one that never saw a source, is a small convex fit.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from scipy.optimize import minimize

from guard.backbone import widened

LAST = 6
"""The last whole block; the first layer of the next widens 64 planes to 384."""
PEAK = 0.7
"""What a maximum weighs against a mean: it sees one telling place (a fan on a dark screen), but also one odd pixel."""
STRENGTH = 0.25
"""Of the ridge on the head, at standardised features and the weighted mean of the log loss."""
LABEL_WEIGHTS = (1.0, 1.0, 1.1)
"""Radiograph, ultrasound, other: the last is the widest."""
Floats = npt.NDArray[np.float32]


def pooled(backbone: Path, rows: int, columns: int) -> keras.Model:
    """``image`` (n, rows, columns, 1) in 0 to 1 -> means, then maxima, of every plane."""
    trunk = widened(backbone, rows, columns, LAST)
    end = trunk.outputs[0]
    both = [layers.GlobalAveragePooling2D()(end), layers.GlobalMaxPooling2D()(end)]
    return keras.Model(trunk.inputs[0], layers.Concatenate(name="pooled")(both))


def features(network: keras.Model, images: npt.NDArray[np.generic], batch: int = 128) -> Floats:
    """``pooled`` of (n, rows, columns) images: 8 bit, or floats in 0 to 1."""
    scale = 255 if images.dtype == np.uint8 else 1
    parts = (images[at : at + batch, ..., np.newaxis] / np.float32(scale) for at in range(0, len(images), batch))
    return np.concatenate([np.asarray(network(part, training=False)) for part in parts])


def fit(found: Floats, labels: npt.NDArray[np.int64], passes: int = 60) -> Floats:
    """The head: (1 + features, labels), the offsets first. Multinomial logistic regression with a ridge."""
    count = len(LABEL_WEIGHTS)
    mean, spread = found.mean(axis=0), found.std(axis=0) + 1e-3
    halves = np.repeat(np.float32([1, PEAK]), found.shape[1] // 2)
    inputs, targets = (found - mean) / spread * halves, np.eye(count, dtype=np.float32)[labels]
    weights = (np.array(LABEL_WEIGHTS) / np.bincount(labels, minlength=count))[labels].astype(np.float32)
    weights /= weights.sum()

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        head = flat.reshape(-1, count).astype(np.float32)
        scores = inputs @ head[1:] + head[0]
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores)
        total = shares.sum(axis=1, keepdims=True)
        value = -(weights * ((scores * targets).sum(axis=1) - np.log(total[:, 0]))).sum()
        pull = (shares / total - targets) * weights[:, np.newaxis]
        slope = np.vstack([pull.sum(axis=0), inputs.T @ pull + STRENGTH * head[1:]])
        return float(value + STRENGTH / 2 * (head[1:] ** 2).sum()), slope.astype(np.float64).ravel()

    start = np.zeros((1 + found.shape[1]) * count)
    options = {"maxiter": passes, "maxcor": 20}
    head = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(-1, count)
    head[1:] *= (halves / spread)[:, np.newaxis]
    head[0] -= mean @ head[1:]
    return head.astype(np.float32)


def scores(head: Floats, found: Floats) -> Floats:
    """Logits (n, labels) of features."""
    return np.asarray(found @ head[1:] + head[0], np.float32)


def whole(trunk: keras.Model, head: Floats) -> keras.Model:
    """The network that ships: ``image`` -> ``logits``."""
    last = layers.Dense(head.shape[1], name="logits")
    model = keras.Model(trunk.inputs[0], last(trunk.outputs[0]), name="modality_guard")
    last.set_weights([head[1:], head[0]])
    return model
