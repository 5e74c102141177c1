"""``edgeai sign BUNDLE --key KEY``: one signature more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeai.cli.given import check_bundle, given
from edgeai.cli.keys import KEY_HELP, PassphraseFile, passphrase


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file; it is replaced once the new one is whole.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help=f"{KEY_HELP} Again for another. Required.", metavar="FILE|URI", show_default=False),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a bundle's manifest, after every byte of the bundle was checked. Signatures of other keys stay.

    The manifest and the digest stay as they were: a signed model is the same model. A key that has signed already
    changes nothing.

    Exit status: 0 when it bears the signatures; 1 when the bundle is not sound; 2 when a key cannot be used.
    """
    from edgeai.bundle.signing import is_open_to_others, sign_bundle, signer_of

    check_bundle(bundle, whole=not key)
    names = given(key, "--key", "say who signs")
    signers = [(name, signer_of(name, passphrase(passphrase_file))) for name in names]
    for name, signer in signers:
        if is_open_to_others(name):
            typer.echo(f"warning: {name} can be read by others; chmod 600 it", err=True)
        signed = sign_bundle(bundle, signer)
        what_became = "signed" if signed.added else "had signed already"
        typer.echo(f"{name} {what_became}: key id {signed.key_id}")
    typer.echo(f"{bundle}: {signed.name} {signed.version}, {signed.digest}, {_count(len(signed.key_ids))}")


def _count(signatures: int) -> str:
    return "1 signature" if signatures == 1 else f"{signatures} signatures"
