"""Train the network for a chest radiograph's projection: ``edgeai train models/xray-view --data DIR``."""

from __future__ import annotations

from typing import Any

from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_workbench.drawings import chest
from edgeai_workbench.reference import begin

BATCH = 16
LEARNING: dict[str, Any] = {"epochs": 60, "patience": 60, "learning_rate": 1e-3}


def network() -> Any:
    """Four times Conv2D and MaxPooling2D, Flatten, Dense: about 507,000 weights, most of them in the first Dense."""
    return build("cnn", size=224, filters=(32, 32, 64, 64), units=48, labels=2, dropout=0.4)


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
    reference.finish(lambda inputs: predict(model, inputs), [chest(number) for number in range(2)])


if __name__ == "__main__":
    main()
