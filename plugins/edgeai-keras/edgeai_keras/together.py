"""Training by one loss of all outputs together: of two stages, what the second is to say follows from the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeai.api import CompressionFailed
from edgeai_keras.frameworks import keras
from edgeai_keras.model_file import tensor_names


class Together(keras.Model):  # type: ignore[misc]
    """A model as it is trained by ``Objective.together``; the weights are the model's own.

    ``train_on_batch`` raises ``CompressionFailed``, ``compress.tensors-differ``, where the loss asks for an output by a
    name that the model does not have.
    """

    def __init__(self, model: Any, loss: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]) -> None:
        super().__init__(name=f"{model.name}_together")
        self.model = model
        self._names = tensor_names(model, "output")
        self._loss_of_all = loss

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the model answers."""
        return self.model(inputs, training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **more: Any) -> Any:
        """The mean over the batch, a scalar."""
        answers = dict(zip(self._names, keras.tree.flatten(y_pred), strict=True))
        truths = dict(zip(self._names, keras.tree.flatten(y), strict=True))
        truths = {name: keras.ops.cast(truth, answers[name].dtype) for name, truth in truths.items()}
        try:
            return keras.ops.mean(self._loss_of_all(keras.ops, truths, answers))
        except KeyError as error:
            raise CompressionFailed(
                f"the loss reads output {error}, {self.model.name} has {', '.join(self._names)}",
                code="compress.tensors-differ",
                remedy="declare the model's own tensors",
            ) from None
