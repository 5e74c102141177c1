"""Train the classifier of breast ultrasound: ``edgeai train models/us-breast --data DIR``.

280 images are too few to learn to see from. What MobileNetV2 sees stays as it is, and a logistic regression is learnt
of its mean over the picture, from each image as it is and as it might have been taken (``[training.augment]``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from backbone import backbone, give_weights
from keras import layers
from sklearn.linear_model import LogisticRegression

from edgeai.api import Array
from edgeai_keras.augment import augmented
from edgeai_keras.folding import splits
from edgeai_keras.training import predict, save
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import Reference, begin

SIZE = 256
WEIGHTS = Path("models") / "mobilenet_v2_1.0_224_quant.tflite"
TIMES = 6
"""How often each image is shown: once as it is, and otherwise changed."""
STRENGTH = 0.003
"""Of the data against the penalty on weights, by five folds of the training table: 0.01 and 0.001 were no better."""
FLOOR = 0.02
"""Of a feature's deviation: one that hardly changes would get a weight beside which int8 keeps none of the others."""


def network(data: Path) -> Any:
    """596,000 weights that stay, and three sums of 576 numbers at each of 8 x 8 places, whose mean is answered.

    The mean of the sums is the sum of the means, and differs in int8: there, 576 small means would be rounded alike.
    """
    seen = backbone(size=SIZE)
    give_weights(seen, data / WEIGHTS)
    sums = layers.Conv2D(3, 1, name="sums")(seen.output)
    return keras.Model(seen.input, layers.GlobalAveragePooling2D(name="logits")(sums), name="us_breast")


def features(model: Any, images: Array) -> Array:
    """(n, 576): what is seen, on average over the picture."""
    pool = keras.Model(model.input, layers.GlobalAveragePooling2D()(model.get_layer("sums").input))
    (seen,) = predict(pool, {"image": images}).values()
    return seen


def shown(reference: Reference, model: Any, images: Array) -> Array:
    """(times, n, 576): features of each image as it is and as it might have been taken."""
    change = augmented(reference.card.training.augment, reference.seed)
    changed = (change(({"image": images}, {}))[0]["image"] for _ in range(TIMES - 1))
    return np.stack([features(model, images), *(features(model, each) for each in changed)])


def learn(model: Any, seen: Array, labels: Array) -> None:
    """Give the sums the weights of a regression that counts each label alike.

    Args:
        model: changed in place.
        seen: (times, n, 576), of the same n images each time.
        labels: (n,) places of their labels.
    """
    flat = seen.reshape(-1, seen.shape[-1]).astype(np.float64)
    mean, spread = flat.mean(axis=0), np.maximum(flat.std(axis=0), FLOOR)
    regression = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000)
    regression.fit((flat - mean) / spread, np.tile(labels, len(seen)))
    kernel = regression.coef_ / spread
    model.get_layer("sums").set_weights([kernel.T[np.newaxis, np.newaxis], regression.intercept_ - kernel @ mean])


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    whole = reference.whole()
    images, labels = whole["inputs"]["image"], whole["targets"]["logits"].argmax(axis=1)
    model = network(reference.data)
    seen = shown(reference, model, images)
    if reference.folds:
        judged = []
        for train, held_out in splits(len(labels), whole["groups"], whole["strata"], reference.folds, reference.seed):
            learn(model, seen[:, train], labels[train])
            judged.append((held_out, predict(model, {"image": images[held_out]})))
        reference.report(judged)
        return
    learn(model, seen, labels)
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(3)])


if __name__ == "__main__":
    main()
