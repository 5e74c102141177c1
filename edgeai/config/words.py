"""How a mistake in a profile is told: what to write instead, in words that a person uses."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TypeAlias

Where: TypeAlias = tuple[str | int, ...]
"""A key: table names, positions in lists, and its own name."""

_CLOSE = 0.6
_SLUG_KEYS = ("id", "site", "name")
_UNITS = {
    "b": 1,
    "k": 1_000,
    "kb": 1_000,
    "m": 1_000_000,
    "mb": 1_000_000,
    "g": 1_000_000_000,
    "gb": 1_000_000_000,
    "tb": 1_000_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_TIMES = {"ms": 0.001, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}
_MEASURE = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?)\s*([a-zA-Z]+)\s*")


def dotted(where: Where) -> str:
    """``deployments[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def shown(value: object) -> str:
    """A value as TOML writes it, short."""
    if isinstance(value, bool | int | float | str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, datetime | date | time):
        text = value.isoformat()
    else:
        return "a table" if isinstance(value, Mapping) else "a list"
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(word: str, known: Sequence[str]) -> str:
    """`` ; did you mean ...?``, or nothing where none is near."""
    near = nearest_word(word, known)
    return f'; did you mean "{near}"?' if near else ""


def nearest_word(word: str, known: Sequence[str]) -> str:
    """The known word that is near; empty where none is."""
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=_CLOSE)
    return lowered[near[0]] if near else ""


def sentence(item: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """One mistake that pydantic found, told.

    Args:
        item: as ``ValidationError.errors`` gives it.
        schema: the JSON Schema of a profile.
    """
    where, kind, value = item["loc"], item["type"], item["input"]
    if kind == "extra_forbidden":
        return _unknown(where, schema, value)
    if kind == "missing":
        return _missing(where)
    instead = _instead(kind, item.get("ctx", {}), where, value) or str(item["msg"]).removeprefix("Value error, ")
    return f"{instead} (here: {shown(value)})"


def not_toml(path: Path, text: str, reason: str) -> str:
    """The parser's own words with the line in front, and what is mostly meant by them."""
    place = re.search(r" \(at line (\d+), column (\d+)\)$", reason)
    lines = text.splitlines()
    number = int(place[1]) if place else len(lines)
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    what = reason[: place.start()] if place else reason.removesuffix(" (at end of document)")
    hint = ""
    bare = re.match(r"\s*([\w.-]+)\s*=\s*([A-Za-z/.~][^\"'#\[{]*?)\s*(?:#.*)?$", line)
    if "twice" in what or "overwrite" in what or "mutate" in what:
        hint = "; this key or table is there already: write it once"
    elif bare and bare[2] not in ("true", "false"):
        hint = f'; text needs quotes: {bare[1]} = "{bare[2]}"'
    elif bare := re.match(r"\s*([\w.-]+)\s*=\s*(\d[^\"'#\[{,]*?)\s*(?:#.*)?$", line):
        hint = f"; a number has no unit, and text needs quotes: {bare[1]} = ..."
    return f"{path.name}:{number}: not TOML: {what}{hint}"


def _unknown(where: Where, schema: Mapping[str, Any], value: object) -> str:
    key = str(where[-1])
    properties = node_at(schema, where[:-1]).get("properties", {})
    here = [str(name) for name in properties]
    if isinstance(value, Mapping) and len(where) > 1 and isinstance(where[-2], int):
        near = nearest(key, [name for name, node in properties.items() if node.get("type") == "object"])
        named = f', and name = "{key}"' if "name" in here else ""
        return f"unknown key{near or f'; for another one write [[{_tables_of(where)}]] with two brackets{named}'}"
    if near := nearest(key, here):
        return f"unknown key{near}"
    homes = [path for path, names in _tables(schema, schema, "") if key in names]
    if homes:
        listed = " or ".join(f"[{path}]" if path else "the top of the file" for path in homes[:3])
        return f"unknown key here; {key} belongs in {listed}"
    return f"unknown key; known here: {', '.join(here)}" if len(here) <= 12 else "unknown key"


def _missing(where: Where) -> str:
    if where == ("device",):
        return 'missing: add  [device]  with  id = "cart-1"  and  site = "my-hospital"'
    examples = {
        "id": "cart-1",
        "site": "my-hospital",
        "name": "guard",
        "bundle": "guard.edgeai",
        "ae_title": "MODALITY",
    }
    examples |= {"path": "/srv/edgeai/export", "kind": "jsonl"}
    example = examples.get(str(where[-1]))
    return f'missing: add  {where[-1]} = "{example}"  or what is true here' if example else "missing"


def _instead(kind: str, facts: Mapping[str, Any], where: Where, value: object) -> str:
    """What to write instead; empty when nobody thought of this kind."""
    key = str(where[-1])
    if kind in ("int_type", "int_parsing", "int_from_float", "float_type", "float_parsing", "finite_number"):
        return _number(key, value, whole=kind.startswith("int"))
    if kind == "string_pattern_mismatch":
        return _pattern(key, str(value))
    if kind == "literal_error":
        return _choice(re.split(r", | or ", str(facts["expected"])), value)
    bounds = {"greater_than_equal": "use at least", "less_than_equal": "use at most"}
    if kind in bounds:
        return f"{bounds[kind]} {_plain(facts['ge' if kind.startswith('g') else 'le'])}"
    if kind == "greater_than":
        return f"use more than {_plain(facts['gt'])}"
    if kind == "string_too_long":
        return f"use at most {facts['max_length']} characters, not {len(str(value))}"
    if kind == "string_too_short":
        return "it is empty"
    return _types(kind, where, value)


def _choice(expected: Sequence[str], value: object) -> str:
    """One of what pydantic lists: text in quotes, and numbers."""
    if isinstance(value, str) and value in expected:
        return f"write it without quotes: {value}"
    if isinstance(value, int) and not isinstance(value, bool) and f"'{value}'" in expected:
        return f'write it in quotes: "{value}"'
    listed = " or ".join(choice.replace("'", '"') for choice in expected)
    choices = [choice.strip("'") for choice in expected]
    return f"use {listed}{nearest(value, choices) if isinstance(value, str) else ''}"


def _tables_of(where: Where) -> str:
    return ".".join(str(part) for part in where[:-1] if not isinstance(part, int))


def _types(kind: str, where: Where, value: object) -> str:
    if kind in ("string_type", "path_type"):
        return "give text in quotes, as in " + f'"{value}"' if isinstance(value, int | float) else "give text in quotes"
    if kind in ("bool_type", "bool_parsing"):
        return "write true or false, without quotes"
    if kind in ("tuple_type", "list_type"):
        if isinstance(value, Mapping):
            return f"it is a list of tables: write [[{'.'.join(str(p) for p in where)}]] with two brackets"
        return f"give a list: [{shown(value)}]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        names = ".".join(str(part) for part in where if not isinstance(part, int))
        if isinstance(where[-1], int):
            return f"they are a table each: write [[{names}]] with two brackets, and its keys below"
        if isinstance(value, list | tuple):
            return f"it is one table: write [{names}] with one bracket"
        return f"it is a table: write [{names}], and its keys below"
    return ""


def _number(key: str, value: object, *, whole: bool) -> str:
    what = "a whole number" if whole else "a number"
    if isinstance(value, str):
        if key.endswith("_bytes"):
            return _measured(value, _UNITS, "bytes") or "give bytes as a whole number, without quotes"
        if key.endswith("_s"):
            return _measured(value, _TIMES, "seconds") or f"give seconds as {what}, without quotes"
        if re.fullmatch(r"\d[\d_]*", value):
            return f"write it without quotes: {value}"
        return f"give {what}, without quotes"
    return f"give {what}"


def _measured(text: str, units: Mapping[str, float], name: str) -> str:
    """``give bytes: 5_000_000_000`` of "5 GB"."""
    match = _MEASURE.fullmatch(text)
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        plain = re.fullmatch(r"\d[\d_]*(\.\d+)?", text)
        return f"give {name} without quotes: {text}" if plain else ""
    return f"give {name} as a number: {_plain(float(match[1].replace('_', '')) * factor)}"


def _plain(number: float) -> str:
    return f"{int(number):_d}" if float(number).is_integer() else f"{number:g}"


def _pattern(key: str, value: str) -> str:
    if key in _SLUG_KEYS:
        example = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:63] or "cart-1"
        return f"use a-z, 0-9 and -, beginning with a letter or digit, at most 63 characters, e.g. {example}"
    if key == "ae_title":
        return "use letters, digits, spaces and signs of ASCII, no backslash, e.g. CART-1"
    if key == "window":
        return "give two times of day, as 22:00-05:30"
    if key == "allow_release":
        return "give the bundle's whole digest as `edgeai inspect` prints it: sha256: and 64 digits of 0-9 and a-f"
    return ""


def node_at(schema: Mapping[str, Any], where: Where) -> Mapping[str, Any]:
    """The table that the JSON Schema has at ``where``."""
    node: Mapping[str, Any] = schema
    for part in where:
        node = _deref(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            extra = node.get("additionalProperties")
            other = extra if isinstance(extra, Mapping) else {}
            node = node.get("properties", {}).get(part, other)
    return _deref(schema, node)


def _deref(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in node.get("anyOf", ()):
        if "$ref" in option:
            node = option
    reference = node.get("$ref")
    target: Mapping[str, Any] = schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node
    return target


def _tables(schema: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[tuple[str, list[str]]]:
    """Every table's path with its keys."""
    node = _deref(schema, node)
    properties: Mapping[str, Any] = node.get("properties", {})
    if properties:
        yield path, list(properties)
    for name, child in properties.items():
        inner = child.get("items", child)
        yield from _tables(schema, inner, f"{path}.{name}".lstrip("."))
