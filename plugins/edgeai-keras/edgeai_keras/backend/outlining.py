"""What a ``.keras`` file says of itself before Keras is imported."""

from __future__ import annotations

from pathlib import Path

from edgeai.api import ConversionFailed, Described, ModelRejected
from edgeai_keras.backend.opening import rejected
from edgeai_keras.outline import outline


def outline_of(artifact: Path) -> Described | None:
    """See ``BackendSpec.outline``.

    Raises:
        ModelRejected: missing, damaged, larger than it is, or with a Lambda layer.
    """
    if not artifact.is_file():
        raise ModelRejected(f"{artifact.name}: no such file", code="backend.artifact-missing")
    try:
        return outline(artifact)
    except ConversionFailed as error:
        raise rejected(error) from error
