"""Notes beside a card, in JSON: what was made, chosen, fitted or judged, and of what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from edgeai.api import ConfigError

T = TypeVar("T", bound=msgspec.Struct)


def write_note(path: Path, note: msgspec.Struct) -> None:
    """Write it for people too, fields by name: the same note gives the same bytes."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(note, order="sorted"), indent=2) + b"\n")


def read_note(path: Path, kind: type[T]) -> T | None:
    """The note; ``None`` where there is none of this kind."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def hold_note(path: Path, kind: type[T], refused: Callable[[str], ConfigError], *, missing: str) -> T:
    """The note, where nothing goes on without it.

    Args:
        path: of the note.
        kind: what it has to be.
        refused: makes the error of a reason.
        missing: the reason where there is no file.

    Raises:
        ConfigError: what ``refused`` makes.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise refused(missing) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise refused(f"{path} cannot be read: {error}") from error
