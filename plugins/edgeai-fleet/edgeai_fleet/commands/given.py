"""What several of the commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeai.api.errors import ConfigError
from edgeai.cli.keys import KEY_HELP, passphrase

FolderArgument = Annotated[Path, typer.Argument(help="The repository's folder.", show_default=False)]
KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", help=f"{KEY_HELP} Again for another.", metavar="FILE|URI", show_default=False),
]
_NUMBERED = re.compile(r"([a-z0-9-]+)=([0-9]{1,6})")


def signers(keys: Sequence[str] | None, passphrase_file: Path | None) -> list[Any]:
    """The private keys that were given; one that others can read is said aloud."""
    from edgeai_fleet.keys import signers_of

    made, open_to_others = signers_of(keys or (), passphrase(passphrase_file))
    for name in open_to_others:
        typer.echo(f"warning: {name} can be read by others; chmod 600 it", err=True)
    return made


def sign_staged(folder: Any, held: list[Any]) -> None:
    """Sign what is staged, if there is a key, and say what is still missing."""
    from edgeai_fleet.commands.reports import print_waiting
    from edgeai_fleet.staging import staging

    if held:
        with staging(folder) as change:
            done = change.sign(held)
        for role, names in done.signed.items():
            typer.echo(f"signed {role}: {', '.join(names)}")
    print_waiting(folder)


def numbers(words: Sequence[str] | None, option: str) -> dict[str, int]:
    """``role=3`` and the like.

    Raises:
        ConfigError: ``fleet.roles``.
    """
    taken = {}
    for word in words or ():
        match = _NUMBERED.fullmatch(word)
        if match is None:
            raise ConfigError(
                f"{option} {word} is not NAME=NUMBER", code="fleet.roles", remedy=f"for example {option} root=2"
            )
        taken[match[1]] = int(match[2])
    return taken
