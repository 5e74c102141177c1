"""``trust.toml``, beside the keys of a trust folder: what a key may sign, and until when.

.. code-block:: toml

    [keys.release-2026]                  # the key in release-2026.pub
    models = ["ct-window", "us-head"]    # it counts for bundles of these names alone; for any without
    ends = 2027-12-31                    # and up to the end of this day, UTC; for ever without

A mistake in the file trusts nobody, since nobody knows what its owner meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import ConfigError
from edgeai.toml_lines import key_lines, line_of

BOUNDS_NAME: Final = "trust.toml"
_SCHEMA: Final = 1
_MAX_BYTES: Final = 1 << 20
_MODEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
"""A model's name in a manifest."""

_Place = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one key is bound to.

    Attributes:
        models: names of models that it may sign; any when empty.
        ends: the last day on which its signatures count, in UTC; None for no end.
    """

    models: tuple[str, ...] = ()
    ends: date | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether the key's signatures do not count any more."""
        return self.ends is not None and now.astimezone(UTC).date() > self.ends

    def is_for(self, model: str) -> bool:
        """Whether the key may sign a model of this name."""
        return not self.models or model in self.models

    def __str__(self) -> str:
        """``for tiny, until 2027-12-31``."""
        models = f"for {', '.join(self.models)}" if self.models else "for any model"
        return f"{models}, until {self.ends}" if self.ends else models


def read_bounds(folder: Path, names: Collection[str]) -> Mapping[str, Bounds]:
    """The bounds of the keys in a folder, by their names; those that are not bound are not in it.

    Args:
        folder: where the keys lie.
        names: of all keys in it: a bound of any other is a mistake.

    Raises:
        ConfigError: ``keys.bounds``; the message holds every mistake, a line each, with where it stands.
    """
    path = folder / BOUNDS_NAME
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:  # what stands behind them binds too
            raise _refused(f"{path} has more than {_MAX_BYTES} bytes")
        text = data.decode("utf-8")
        body = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # decoding's errors and tomllib's are ValueErrors
        why = getattr(error, "strerror", None) or f"not TOML: {error}"
        raise _refused(f"{path} cannot be read: {why}") from error
    lines = key_lines(text)
    mistakes = [
        f"{BOUNDS_NAME}:{line_of(lines, place) or 1}: {'.'.join(place)}: {why}"
        for place, why in _mistakes(body, sorted(names))
    ]
    if mistakes:
        raise _refused("\n".join(mistakes))
    return {
        name: Bounds(models=tuple(entry.get("models", ())), ends=entry.get("ends"))
        for name, entry in body.get("keys", {}).items()
    }


def _mistakes(body: Mapping[str, Any], names: list[str]) -> Iterator[tuple[_Place, str]]:
    yield from _unknown((), body, ("schema", "keys"))
    if type(schema := body.get("schema", _SCHEMA)) is not int or schema != _SCHEMA:
        yield ("schema",), f"this edgeai reads {_SCHEMA} (here: {schema!r})"
    keys = body.get("keys", {})
    if not isinstance(keys, dict):
        yield ("keys",), "a table of keys, each by the name of its file"
        return
    for name, entry in keys.items():
        place = ("keys", name)
        if name not in names:
            yield place, f"no key file of that name lies beside it{_near(name, names)}"
        if not isinstance(entry, dict):
            yield place, "a table: `models`, `ends`"
            continue
        yield from _unknown(place, entry, ("models", "ends"))
        if "models" in entry and (why := _wrong_models(entry["models"])):
            yield (*place, "models"), why
        if "ends" in entry and type(entry["ends"]) is not date:
            yield (*place, "ends"), f"a day, without quotes and without a time: 2027-12-31 (here: {entry['ends']!s})"


def _wrong_models(models: object) -> str:
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        return 'a list of names: ["ct-window"]'
    if not models:
        return "empty: a key that may sign nothing is one whose file is taken away"
    if wrong := [model for model in models if not _MODEL.fullmatch(model)]:
        return f"{wrong[0]!r} cannot be a model's name: lower case, digits and . _ -, the whole name"
    if len(set(models)) != len(models):
        return "a name stands there twice"
    return ""


def _unknown(place: _Place, table: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[tuple[_Place, str]]:
    for name in table:
        if name not in known:
            yield (*place, name), f"unknown key{_near(name, known)}"


def _near(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""


def _refused(why: str) -> ConfigError:
    return ConfigError(why, code="keys.bounds", remedy="see docs/guides/signing.md; until then no key there is trusted")
