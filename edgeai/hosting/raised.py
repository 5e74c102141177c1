"""What a plugin may raise of an image: by the code edgeai tells who ended it, and whether a model was asked at all."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

from edgeai.api.endings import NoStatement
from edgeai.api.errors import EdgeaiError, is_code
from edgeai.api.results import GuardFigure
from edgeai.owners import ENDS_BY, FAILS_BY, is_of_plugins


def unsound_failure(error: EdgeaiError) -> str:
    """What keeps an error from being a failure of an image; empty where nothing does."""
    if isinstance(error, NoStatement):
        return f"raised {type(error).__name__}, which only a task may, where it interprets or summarises"
    return _code(error, FAILS_BY)


def unsound_answer(error: EdgeaiError) -> str:
    """The same of what a task says of a frame or an instance: it may also end without a statement."""
    if not isinstance(error, NoStatement):
        return unsound_failure(error)
    if what := _code(error, ENDS_BY):
        return what
    for figure in error.figures:
        if not isinstance(figure, GuardFigure) or not all(map(isfinite, (figure.value, figure.threshold or 0.0))):
            return f"ended with {figure!r}, which is no figure, or not finite"
    return ""


def _code(error: EdgeaiError, areas: Collection[str]) -> str:
    if not is_code(error.code):
        return f"ended with the code {error.code!r}, which is not <area>.<what>"
    if not is_of_plugins(error.code, areas):
        return f"ended with the code {error.code!r}, whose area is edgeai's own and not {', '.join(areas)}"
    return ""
