"""How many, as people say it."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """``1 cart``, ``2 carts``; of a word that takes an s."""
    return f"{count} {what}{'' if count == 1 else 's'}"
