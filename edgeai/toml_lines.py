"""Where each key of a TOML document stands, for error messages that name a line.

``tomllib`` gives values without positions, so this walks the text itself: enough of the grammar (tables,
arrays of tables, dotted and quoted keys, multi-line values) to find keys, never to read values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]\]?")
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=(.*)")
_PART = re.compile(_KEY)
_TRIPLE = re.compile(r'"""|' + "'''")


def key_lines(text: str) -> dict[Path, int]:
    """Key path (array items by index) -> line number from 1, for every table and key found."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in _logical_lines(text):
        if header := _HEADER.match(line):
            table = _resolve(_parts(header[2]), counts, is_array=header[1] == "[[")
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault(table + _parts(assignment[1]), number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of ``path``, or of the nearest enclosing key that is written in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _resolve(parts: tuple[str, ...], counts: dict[Path, int], *, is_array: bool) -> Path:
    """Insert the running index after each part that names an array of tables."""
    path: Path = ()
    for position, part in enumerate(parts):
        path += (part,)
        if is_array and position == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that may begin a key or a table: those outside a multi-line string or an open bracket."""
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if depth == 0:
            yield number, line
        code = re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'", "", line.replace('"""', "\0").replace("'''", "\1"))
        code = code.split("#", 1)[0]
        opened = _TRIPLE.findall(line)
        if len(opened) % 2:
            quote = opened[-1]
        if depth or "=" in code:
            value = code if depth else code.split("=", 1)[1]
            depth = max(0, depth + value.count("[") + value.count("{") - value.count("]") - value.count("}"))
