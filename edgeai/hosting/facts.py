"""What a spec says of itself, held when its plugin is loaded: a command would stumble over it later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import edgeai.api

RESERVED: Final = frozenset({"auto", "fastest"})
"""What a profile says where it names no backend; none may be called so."""

_FORMAT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def wrong_facts(spec: Any, name: str, value: Any) -> Iterator[str]:
    """What is wrong with one field of a spec, in words that go on after the field's owner."""
    if name == "name" and value in RESERVED and isinstance(spec, edgeai.api.BackendSpec):
        yield f"name {value!r} is what a profile says where it names no backend"
    if name == "artifact_format" and not (isinstance(value, str) and _FORMAT.fullmatch(value)):
        yield f"artifact_format {value!r} is not letters, digits and . _ + -"
    if name == "rank" and type(value) is not int:
        yield f"rank {value!r} is no whole number"
    if name == "install" and not isinstance(value, str):
        yield f"install is {type(value).__name__}, not the words of a command"
    if name in ("libraries", "first_try") and not _are_words(value):
        yield f"{name} is not a tuple of names"
    elif name == "first_try" and (strangers := sorted(set(value) - set(spec.precisions))):
        yield f"first_try has {', '.join(strangers)}, which is not among precisions"
    if name == "files" and value is not None:
        yield from _wrong_files(value)


def _are_words(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(word, str) and bool(word) for word in value)


def _wrong_files(value: Any) -> Iterator[str]:
    if not isinstance(value, edgeai.api.ModelFiles):
        yield f"files is {type(value).__name__}, not ModelFiles"
        return
    if bool(value.suffix) == bool(value.folder) or not value.called:
        yield "files says not what it is called, or not either a suffix or what its folder holds"
    if value.suffix and not value.suffix.startswith("."):
        yield f"files.suffix {value.suffix!r} does not begin with a full stop"
    if not _are_words(value.beside) or not all(suffix.startswith(".") for suffix in value.beside):
        yield f"files.beside {value.beside!r} is not a tuple of suffixes that begin with a full stop"
    if not _are_words(value.folder) or any("/" in name or name in (".", "..") for name in value.folder):
        yield f"files.folder {value.folder!r} is not a tuple of names in that folder"
    yield from _wrong_templates(value.made_from)


def _wrong_templates(made_from: object) -> Iterator[str]:
    for suffix, how in made_from.items() if isinstance(made_from, Mapping) else [(made_from, "")]:
        try:
            says = str(how).format(name="a", stem="b")
        except (KeyError, IndexError, ValueError):
            says = ""
        if not isinstance(suffix, str) or not suffix.startswith(".") or not says:
            yield f"files.made_from {suffix!r} is no suffix with what to do, in which {{name}} and {{stem}} may stand"
