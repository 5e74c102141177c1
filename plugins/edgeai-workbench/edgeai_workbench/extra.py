"""Libraries of the build host alone: they come with ``edgeai-workbench``, which no cart installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeai.api.errors import ConfigError


def needed(module: str) -> Any:
    """Import ``module``.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed; this command belongs to a build host: {error}",
            code="build.extra-missing",
            remedy="pip install edgeai-workbench",
        ) from error
