"""Imports that wait: of a plugin's own engine until it is called, of libraries that a cart does not have."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from edgeai.api.errors import ConfigError, ConversionFailed


def late(place: str, *, extra: str = "") -> Callable[..., Any]:
    """The function at ``package.module:name``, whose module is imported when the function is called.

    Args:
        place: where it stands.
        extra: of a converter, what to install where its import lacks a module: on a cart nobody converts, so that
            what it needs is an extra of the plugin (``edgeai-tflite[build]``).

    When it is called it raises what the import raises; with ``extra``, ``ConversionFailed`` for a missing module.
    """
    module, _, name = place.partition(":")

    def call(*arguments: Any) -> Any:
        try:
            function = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if not extra:
                raise
            raise ConversionFailed(
                f"converting needs {error.name}, which is not installed",
                code="convert.engine-missing",
                remedy=f"pip install '{extra}'",
            ) from error
        return function(*arguments)

    return call


def build_library(module: str, *, brought_by: str) -> Any:
    """Import ``module``, a library of the build host: training, judging and reports need it, and no cart has it.

    Args:
        module: dotted name.
        brought_by: what to install where it is missing, such as ``acme-tasks[build]``.

    Raises:
        ConfigError: ``build.extra-missing``.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed; what needs it belongs to a build host: {error}",
            code="build.extra-missing",
            remedy=f"pip install '{brought_by}'",
        ) from error
