"""Read a profile, and tell every mistake in it at once, each with its line."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeai.api.errors import ConfigError
from edgeai.config.rules import contradictions
from edgeai.config.tables import DeviceConfig, json_schema
from edgeai.config.words import Where, dotted, nearest, not_toml, sentence
from edgeai.toml_lines import key_lines, line_of

_ROUNDS = 4
"""What a mistake takes away may leave another behind: a list item without its name."""

_STAND_INS = dict.fromkeys(("id", "site", "name", "bundle", "path", "kind", "ae_title"), "0")
"""For keys that must be there and are wrong, so that the rest can still be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile that was read.

    Attributes:
        config: what it says; where something is wrong, the default or a stand-in.
        mistakes: key and sentence of everything that is wrong, in the order of the file.
        lines: where each key stands.
    """

    path: Path
    config: DeviceConfig
    mistakes: tuple[tuple[Where, str], ...]
    lines: Mapping[Where, int]

    def told(self, mistakes: Iterable[tuple[Where, str]]) -> list[str]:
        """A sentence each, ``profile.toml:12: mqtt.prot: ...``, in the order of the file."""
        lines = dict(self.lines)
        # A table written as a list has its first line under a number.
        places = ((lines.get((*where, 0)) or line_of(lines, where) or 1, where, what) for where, what in mistakes)
        ordered = sorted(places, key=lambda item: item[0])
        return [f"{self.path.name}:{line}: {dotted(where) or 'the file'}: {what}" for line, where, what in ordered]


def load_config(path: Path) -> DeviceConfig:
    """Read and check a profile.

    Raises:
        ConfigError: ``config.unreadable``, ``config.syntax`` or ``config.invalid``; the message holds every
            mistake, a line each: ``profile.toml:12: mqtt.prot: unknown key; did you mean "port"?``
    """
    profile = read_profile(path)
    if profile.mistakes:
        raise ConfigError("\n".join(profile.told(profile.mistakes)), remedy="see firmware-configs/README.md")
    return profile.config


def read_profile(path: Path) -> Profile:
    """Read a profile with whatever is wrong in it.

    Raises:
        ConfigError: ``config.unreadable`` or ``config.syntax``.
    """
    values, text = _values(path)
    lines = key_lines(text)
    config, mistakes = _patched(values, path)
    config._source = path.resolve()
    wrong = [where for where, _ in mistakes]
    for where, what in contradictions(config):
        # What was wrong by itself has a stand-in now, which must not be held against anything.
        if not any(where[: len(known)] == known for known in wrong):
            mistakes.append((where, what))
    return Profile(path=path, config=config, mistakes=tuple(mistakes), lines=lines)


def _values(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what, remedy = _unreadable(path, error)
        raise ConfigError(what, code="config.unreadable", remedy=remedy) from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(not_toml(path, text, str(error)), code="config.syntax", remedy="correct that line") from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> tuple[str, str]:
    """Why, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return f"{path}: line {line} is not text in UTF-8", "save the file as UTF-8"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder: name the file", "name the profile, as in cart.toml"
    if isinstance(error, FileNotFoundError):
        near = ""
        with suppress(OSError):
            near = nearest(path.name, [item.name for item in path.parent.iterdir()])
        return f"there is no file {path}{near}", "check the path of the profile"
    return (
        f"{path} cannot be read: {error.strerror}",
        "let this user read it, or call the command as the service's user",
    )


def _patched(values: dict[str, Any], path: Path) -> tuple[DeviceConfig, list[tuple[Where, str]]]:
    """The profile, with stand-ins for what is wrong, and what is."""
    context, rest = {"base": path.parent.resolve()}, copy.deepcopy(values)
    mistakes: dict[Where, str] = {}
    for _ in range(_ROUNDS):
        try:
            return DeviceConfig.model_validate(rest, context=context), list(mistakes.items())
        except ValidationError as error:
            items = error.errors(include_url=False)
        schema = json_schema()
        for item in items:
            where: Where = item["loc"]
            if not any(where[: len(known)] == known for known in mistakes):
                mistakes[where] = sentence(item, schema)
            _replace(rest, where, item["type"])
    stand_in = {"device": {"id": "0", "site": "0"}}
    return DeviceConfig.model_validate(stand_in, context=context), list(mistakes.items())


def _replace(values: dict[str, Any], where: Where, kind: str) -> None:
    """Take a wrong value away, so that its default applies; put a stand-in for one that must be there."""
    node: Any = values
    for part in where[:-1]:
        try:
            node = node[part]
        except (LookupError, TypeError):
            return
    last = where[-1]
    if where == ("device",):
        values["device"] = {"id": "0", "site": "0"}
    elif isinstance(node, list) and isinstance(last, int):
        node[last] = "0" if where[-2] in ("backends", "allow", "allow_hosts") else {}
    elif isinstance(node, dict) and last in _STAND_INS and kind != "extra_forbidden":
        node[last] = _STAND_INS[str(last)]
    elif isinstance(node, dict):
        node.pop(last, None)
