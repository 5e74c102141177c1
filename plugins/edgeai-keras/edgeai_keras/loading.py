"""Reading what a compressor begins from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeai.api import CompressionFailed, ConversionFailed
from edgeai_keras import importing, model_file

_CODES = {
    "convert.model-unreadable": "compress.model-unreadable",
    "convert.layer-unsafe": "compress.layer-unsafe",
    "convert.model-too-large": "compress.model-too-large",
    "convert.weights-elsewhere": "compress.weights-elsewhere",
    "convert.not-a-number": "compress.diverged",
    "convert.engine-missing": "compress.engine-missing",
}


def load(path: Path) -> Any:
    """The Keras model of a ``.keras`` file (or what ``importing`` reads), uncompiled; no code out of it is run.

    Raises:
        ConversionFailed: ``import.*``: an HDF5 file or SavedModel that cannot be read.
        CompressionFailed: ``compress.model-unreadable``, ``compress.model-too-large``, ``compress.weights-elsewhere``,
            ``compress.layer-unsafe``, ``compress.diverged`` or ``compress.engine-missing``.
    """
    try:
        model = importing.open_model(path)[0] if importing.is_foreign(path) else model_file.load(path)
    except ConversionFailed as error:
        if error.code.startswith("import."):
            raise
        raise CompressionFailed(str(error), code=_CODES.get(error.code), remedy=error.remedy) from error
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise CompressionFailed(
            f"{path.name}: {type(model).__name__} is no built functional or sequential model",
            code="compress.model-unreadable",
            remedy="rebuild it with keras.Model(inputs, outputs), or as a keras.Sequential with an Input",
        )
    return model
