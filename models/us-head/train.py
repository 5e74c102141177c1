"""Train the fetal head's U-Net: ``edgeai train models/us-head --data DIR``.

One network, which works on a plane of half the size. The parent asks it four times, of the picture as it is, mirrored,
upside down and both, and answers with the mean: a head may lie any way round, and where one view goes wrong the others
seldom do.
"""

from __future__ import annotations

from typing import Any

from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_keras.views import VIEWS, of_views
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import begin

BATCH = 8
LEARNING: dict[str, Any] = {"epochs": 16, "patience": 16, "learning_rate": 2e-3}


def network() -> Any:
    """About 900,000 weights in six levels, whose deepest sees the whole picture."""
    return build("unet", size=256, filters=20, depth=5, most=70, shrink=2)


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    settings = reference.settings() | LEARNING
    if reference.folds:  # of one view: the mean of four is not trained
        folds = cross_validate(network, **reference.whole(), batch_size=BATCH, **settings)
        reference.report((fold.validation, fold.outputs) for fold in folds)
        return
    set_seed(reference.seed)
    one = network()
    fit(one, **reference.batches(BATCH), **settings)
    model = of_views(one, VIEWS["both"])
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(2)])


if __name__ == "__main__":
    main()
