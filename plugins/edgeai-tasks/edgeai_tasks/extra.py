"""Libraries of the build host alone: they come with the extra ``edgeai-tasks[build]``, which no cart installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from edgeai.api import ConfigError, EvaluationFailed


def needed(module: str) -> Any:
    """Import ``module``.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed; figures are computed on a build host: {error}",
            code="build.extra-missing",
            remedy="pip install 'edgeai-tasks[build]'",
        ) from error


def finite(name: str, *arrays: object) -> None:
    """Refuse what is not a number.

    Raises:
        EvaluationFailed: ``evaluate.not-finite``.
    """
    for array in arrays:
        if not np.isfinite(np.asarray(array, dtype=np.float64)).all():
            raise EvaluationFailed(
                f"{name}: a value is not finite",
                code="evaluate.not-finite",
                remedy="see which sample the model answers with NaN or infinity",
            )
