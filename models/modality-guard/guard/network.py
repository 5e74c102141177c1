"""The network: six convolutions on one grey plane, about 47,000 weights."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

WIDTHS = ((8, 2), (16, 2), (24, 2), (32, 1), (48, 2), (48, 1))
"""(channels, stride) of each convolution."""


def build(rows: int, columns: int, labels: int) -> keras.Model:
    """``image`` (1, rows, columns, 1) in 0 to 1 -> ``logits`` (1, labels)."""
    image = keras.Input((rows, columns, 1), name="image")
    x = image
    for channels, stride in WIDTHS:
        x = layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
    # The mean sees texture all over, the maximum sees one telling place (a fan on a dark screen).
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(labels, name="logits")(x), name="modality_guard")


def fit(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    seed: int,
    epochs: int,
    batch: int = 64,
) -> keras.Model:
    """Train from nothing; labels weigh alike whatever their number."""
    keras.utils.set_random_seed(seed)
    count = int(labels.max()) + 1
    model = build(images.shape[1], images.shape[2], count)
    steps = epochs * -(-len(images) // batch)
    rate = keras.optimizers.schedules.CosineDecay(3e-4, steps, warmup_target=3e-3, warmup_steps=steps // 20)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3), loss, metrics=["accuracy"])
    weights = (len(labels) / count / np.bincount(labels, minlength=count))[labels]
    batches = _Batches(images, np.eye(count, dtype=np.float32)[labels], weights.astype(np.float32), batch, seed)
    model.fit(batches, epochs=epochs, verbose=2)
    return model


class _Batches(keras.utils.PyDataset):
    """Shuffled anew each epoch; 8-bit images become float32 a batch at a time."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        batch: int,
        seed: int,
    ) -> None:
        super().__init__(workers=1)
        self._all, self._batch = (images, targets, weights), batch
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(images))

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], ...]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        images, targets, weights = (part[chosen] for part in self._all)
        return images[..., np.newaxis].astype(np.float32) / 255, targets, weights

    def on_epoch_end(self) -> None:
        self._order = self._rng.permutation(len(self._order))
