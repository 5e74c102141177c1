"""``edgeai sign BUNDLE --key KEY``: one signature more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeai.cli.given import check_bundle, given
from edgeai.cli.keys import KEY_HELP, PassphraseFile, passphrase


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file; it is replaced once the new one is whole.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help=f"{KEY_HELP} Again for another. Required.", metavar="FILE|URI", show_default=False),
    ] = None,
    oms: Annotated[
        bool,
        typer.Option("--oms", help="Write BUNDLE.oms.sig beside it, for foreign tools; the bundle stays as it is."),
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign a bundle's manifest, after every byte of the bundle was checked. Signatures of other keys stay.

    The manifest and the digest stay as they were: a signed model is the same model. A key that has signed already
    changes nothing. With --oms the unpacked bundle is signed as OpenSSF Model Signing 1.0 has it, by one P-256 key, for
    tools that know no edgeai; no cart reads that.

    Exit status: 0 when it bears the signatures; 1 when the bundle is not sound; 2 when a key cannot be used.
    """
    from edgeai.bundle.signing import is_open_to_others, sign_bundle, signer_of

    check_bundle(bundle, whole=not key)
    names = given(key, "--key", "say who signs")
    signers = [(name, signer_of(name, passphrase(passphrase_file))) for name in names]
    if oms:
        _write_oms(bundle, signers)
        return
    for name, signer in signers:
        if is_open_to_others(name):
            typer.echo(f"warning: {name} can be read by others; chmod 600 it", err=True)
        signed = sign_bundle(bundle, signer)
        what_became = "signed" if signed.added else "had signed already"
        typer.echo(f"{name} {what_became}: key id {signed.key_id}")
    typer.echo(f"{bundle}: {signed.name} {signed.version}, {signed.digest}, {_count(len(signed.key_ids))}")


def _write_oms(bundle: Path, signers: list[tuple[str, Any]]) -> None:
    """A signature for foreign tools, beside the bundle. Raises as ``sign_oms``, and ``keys.unwritable``."""
    from edgeai.api.errors import ConfigError
    from edgeai.bundle.oms import OMS_SUFFIX, sign_oms

    if len(signers) != 1:
        raise typer.BadParameter("OpenSSF Model Signing has one signature", param_hint="--key")
    out = bundle.with_name(bundle.name + OMS_SUFFIX)
    data = sign_oms(bundle, signers[0][1])
    try:
        out.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror}", code="keys.unwritable", remedy="sign a copy elsewhere"
        ) from error
    typer.echo(f"{out}: OpenSSF Model Signing 1.0, for the unpacked bundle")


def _count(signatures: int) -> str:
    return "1 signature" if signatures == 1 else f"{signatures} signatures"
