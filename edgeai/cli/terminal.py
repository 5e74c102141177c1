"""What may be anybody's, fit for a terminal. An error says so by this: it imports nothing."""

from __future__ import annotations


def printable(name: object) -> str:
    """A file's name, fit for a terminal: what cannot be encoded, or would steer it, is replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(name))


def steady(text: str) -> str:
    """Lines fit for a terminal: all that would steer it is replaced, but for the ends of lines."""
    return "\n".join(printable(line) for line in text.split("\n"))
