"""Train the small network for pneumonia: ``edgeai train models/xray-pneumonia --data DIR``."""

from __future__ import annotations

from typing import Any

from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_workbench.drawings import chest
from edgeai_workbench.reference import begin

BATCH = 64
LEARNING: dict[str, Any] = {"epochs": 16, "patience": 16, "learning_rate": 1e-3}


def network() -> Any:
    """Three times Conv2D and MaxPooling2D, Flatten, Dense: about 240,000 weights."""
    return build("cnn", size=28, filters=(32, 64, 128), padding="same", units=128, labels=1, dropout=0.5)


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    settings = reference.settings() | LEARNING
    if reference.folds:
        folds = cross_validate(network, **reference.whole(), batch_size=BATCH, **settings)
        reference.report((fold.validation, fold.outputs) for fold in folds)
        return
    set_seed(reference.seed)
    model = network()
    fit(model, **reference.batches(BATCH), **settings)
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [chest(number) for number in range(4)])


if __name__ == "__main__":
    main()
