"""The keys of a repository's roles: public halves from files, named, and who of them holds a private one here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key, Signer, SSlibKey

from edgeai.api.errors import ConfigError
from edgeai.bundle.keys import read_keys
from edgeai.bundle.signing import Ask, is_open_to_others, signer_of

NAME_FIELD: Final = "x-edgeai-name"
"""Of a key in metadata: what people call it. No part of its id."""
_SHORT: Final = 12


def role_keys(paths: Iterable[Path]) -> list[SSlibKey]:
    """Public keys of files and folders, with the names of their files.

    Raises:
        ConfigError: ``keys.not-public``, ``keys.bounds``, ``fleet.roles`` where there is none.
    """
    paths = list(paths)
    keys = []
    for public in read_keys(paths):
        public.key.unrecognized_fields[NAME_FIELD] = public.name
        keys.append(public.key)
    if not keys:
        raise ConfigError(
            f"there is no public key in {', '.join(map(str, paths))}",
            code="fleet.roles",
            remedy="name .pub files, as `edgeai keys new` and `edgeai keys public` write them",
        )
    return keys


def called(key: Key) -> str:
    """``alice (0123456789ab)``."""
    name = key.unrecognized_fields.get(NAME_FIELD)
    return f"{name} ({key.keyid[:_SHORT]})" if name else key.keyid[:_SHORT]


def signers_of(keys: Sequence[str], ask: Ask) -> tuple[list[Signer], list[str]]:
    """Private keys in files or tokens, and the names of those files that others can read.

    Raises:
        ConfigError: the codes of ``signer_of``.
    """
    return [signer_of(key, ask) for key in keys], [key for key in keys if is_open_to_others(key)]
