"""Structured pruning: channels of a Keras 3 model really removed, the result an ordinary smaller model.

Importing this imports no Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeai_keras.channels.spec import SPEC

if TYPE_CHECKING:
    from edgeai_keras.channels.counting import Cost

__all__ = ["SPEC", "cost"]


def cost(model: Any) -> Cost:
    """Parameters and multiply-accumulates of a functional or Sequential model, layer by layer.

    Raises:
        CompressionFailed: ``compress.layer-unfollowed``: a model whose graph is not known.
    """
    from edgeai_keras.channels.counting import cost as count

    return count(model)
