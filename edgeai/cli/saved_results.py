"""A result as somebody saved it: a message's body, a line of the JSON lines, of ``edgeai infer --json``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import ConfigError
from edgeai.api.results import Result
from edgeai.bundle.strict_json import read_object

_MOST_BYTES: Final = 64 * 1024 * 1024
_REMEDY: Final = (
    "save one result as it came: a message's body, a line of the JSON lines, or one of `edgeai infer --json`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A result, and the names of all that its file says (``model.digest``), what this edgeai does not read too."""

    result: Result
    fields: tuple[str, ...]

    def without(self, held: Iterable[str]) -> list[str]:
        """Its fields but these, and but what is in one of these."""
        known = tuple(held)
        return [name for name in self.fields if not any(f"{name}.".startswith(f"{one}.") for one in known)]

    def in_short(self, names: Collection[str]) -> list[str]:
        """The same fields, by the name of what holds them where all that it holds is among them."""
        others = [name for name in self.fields if name not in names]
        return list(dict.fromkeys(_shortest(name, others) for name in names))


def uncompared(saved: Saved, version: str) -> list[str]:
    """The fields of a result to which a replay by this version of edgeai holds nothing."""
    from edgeai.model.again import OF_OTHERS, SENTENCES, UNCOMPARED, has_sentences

    left_out = (*UNCOMPARED, *(() if has_sentences(saved.result, version) else SENTENCES))
    known = set(saved.without(left_out)) & set(fields_of(saved.result.as_dict()))
    of_others = [f"guard ({OF_OTHERS})"] if any(each.check == OF_OTHERS for each in saved.result.guard) else []
    return [*(name for name in saved.fields if name not in known), *of_others]


def _shortest(name: str, others: Sequence[str]) -> str:
    parts = name.split(".")
    shorter = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((each for each in shorter if not any(one.startswith(f"{each}.") for one in others)), name)


def fields_of(value: Any, within: str = "") -> Iterator[str]:
    """The name of each end of an object as it is in JSON: of what is in a list, that of the list."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from fields_of(inner, f"{within}.{name}" if within else name)
    elif isinstance(value, list | tuple) and value:
        for inner in value:
            yield from fields_of(inner, within)
    else:
        yield within


def read_result(path: Path, result_id: str = "") -> Saved:
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
        results = [(Result.from_dict(body), body) for body in _bodies(data)]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:  # its words are of our code, not of the file
        raise _none(
            f"{path} is no result that this edgeai reads: a part of it is missing, or of another kind"
        ) from error
    except ValueError as error:
        raise _none(f"{path} is no result that this edgeai reads: {error}") from error
    meant = [each for each in results if not result_id or each[0].result_id == result_id]
    if not meant:
        raise _none(f"{path} has no result of the id {result_id}" if result_id else f"{path} is empty")
    if len({result.result_id for result, _ in meant}) > 1:
        raise _none(f"{path} has {len(results)} results", "say which one with --result ID")
    result, body = max(meant, key=lambda each: each[0].attempt)
    return Saved(result=result, fields=tuple(dict.fromkeys(fields_of(body))))


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
