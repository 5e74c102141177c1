"""Callables by where they stand: a plugin that names them so registers without importing its engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from edgeai.api.errors import ConversionFailed


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
