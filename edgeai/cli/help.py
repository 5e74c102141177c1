"""``--help`` as it was written: brackets are no markup, and a paragraph is wrapped as wide as the terminal is."""

from __future__ import annotations

import inspect
import re
from typing import Any

_TAG = re.compile(r"(?<!\\)\[(?=[a-z#/@])")
"""What rich would take for the begin of its markup."""


def as_written(command: Any) -> None:
    """Prepare the help of a command, of its options and of its sub-commands for typer, which hands it to rich."""
    command.help = _literal(_wrapped(command.help or ""))
    for param in command.params:
        if getattr(param, "help", None):
            param.help = _literal(param.help)
    for below in getattr(command, "commands", {}).values():
        as_written(below)


def _wrapped(text: str) -> str:
    """Each paragraph on one line; lines that are set in, as examples are, stay lines."""
    paragraphs = inspect.cleandoc(text).replace("``", "`").split("\n\n")
    return "\n\n".join(each if each.startswith(" ") else each.replace("\n", " ") for each in paragraphs)


def _literal(text: str) -> str:
    return _TAG.sub(r"\\[", text)
