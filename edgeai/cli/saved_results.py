"""A result as somebody saved it: a message's body, a line of the JSON lines, of ``edgeai infer --json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import ConfigError
from edgeai.api.results import Result
from edgeai.bundle.strict_json import read_object

_MOST_BYTES: Final = 64 * 1024 * 1024
_REMEDY: Final = (
    "save one result as it came: a message's body, a line of the JSON lines, or one of `edgeai infer --json`"
)


def read_result(path: Path, result_id: str = "") -> Result:
    """The one result of a file, or the one of this id where the file has several, its highest attempt.

    Raises:
        ConfigError: ``trace.no-result``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _none(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise _none(f"{path} has more than {_MOST_BYTES} bytes")
    try:
        results = [Result.from_dict(body) for body in _bodies(data)]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:  # its words are of our code, not of the file
        raise _none(
            f"{path} is no result that this edgeai reads: a part of it is missing, or of another kind"
        ) from error
    except ValueError as error:
        raise _none(f"{path} is no result that this edgeai reads: {error}") from error
    meant = [result for result in results if not result_id or result.result_id == result_id]
    if not meant:
        raise _none(f"{path} has no result of the id {result_id}" if result_id else f"{path} is empty")
    if len({result.result_id for result in meant}) > 1:
        raise _none(f"{path} has {len(results)} results", "say which one with --result ID")
    return max(meant, key=lambda result: result.attempt)


def _bodies(data: bytes) -> list[dict[str, Any]]:
    """One JSON object, or one a line; in none a key twice."""
    try:
        return [read_object(data)]
    except ValueError:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [read_object(line) for line in lines]


def _none(why: str, remedy: str = _REMEDY) -> ConfigError:
    return ConfigError(why, code="trace.no-result", remedy=remedy)
