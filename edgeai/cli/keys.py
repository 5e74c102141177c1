"""``edgeai keys``: make a pair of keys, and show the public half of one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from edgeai.api.errors import ConfigError
from edgeai.cli import output

app = typer.Typer(no_args_is_help=True, help="Make keys to sign bundles with; show public halves and trust folders.")

PASSPHRASE = "EDGEAI_KEY_PASSPHRASE"  # noqa: S105  # the variable's name
KEY_HELP = "A private key in PEM, or a pkcs11: URI of one in a token."

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help=f"A file whose first line is the passphrase. Without: {PASSPHRASE}, else it is asked for."),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What people call the key: NAME.key and NAME.pub.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the pair; made if it is not there.")] = Path(),
    comment: Annotated[str, typer.Option(help="A line in the public file; the name without.")] = "",
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt the private key with a passphrase.")] = False,
    p256: Annotated[bool, typer.Option("--ecdsa", help="ECDSA on P-256, for `edgeai sign --oms`.")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a pair, ed25519: NAME.key, for whoever signs (mode 0600), and NAME.pub, for every device's trust folder.

    Exit status: 0 with a pair; 2 when it cannot be made. No file is ever overwritten.
    """
    from edgeai.bundle.keys import make_keys

    secret = None
    if encrypt or passphrase_file is not None:
        secret = passphrase(passphrase_file, confirm=True)(f"passphrase of {name}").encode()
    pair = make_keys(name, out, comment=comment, passphrase=secret, p256=p256)
    typer.echo(f"private  {pair.private}" + ("" if secret else "  (not encrypted)"))
    typer.echo(f"public   {pair.public.path}")
    typer.echo(f"key id   {pair.public.key_id}")


@app.command()
def public(
    key: Annotated[str, typer.Argument(help=KEY_HELP)],
    comment: Annotated[str, typer.Option(help="A line in the public file.")] = "",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Print the public half of a private key, as a trust folder takes it; its id goes to stderr.

    Exit status: 0, or 2 when the key cannot be used.
    """
    from edgeai.bundle.signing import public_key_of, signer_of

    signer = signer_of(key, passphrase(passphrase_file))
    typer.echo(public_key_of(signer, comment or Path(key).stem).decode(), nl=False)
    typer.echo(f"key id {signer.public_key.keyid}", err=True)


@app.command("list")
def list_(
    trust: Annotated[Path, typer.Argument(help="A trust folder, or one public key.", exists=True, show_default=False)],
    as_json: Annotated[bool, output.option("A list of objects, for programs.")] = False,
) -> None:
    """Show the keys of a trust folder, which models each may sign, and until when (trust.toml beside them).

    Exit status: 0, or 2 when a file there is no public key, or trust.toml has a mistake.
    """
    from datetime import UTC, datetime

    from edgeai.bundle.keys import read_keys

    keys, now = read_keys([trust]), datetime.now(UTC)
    if as_json:
        listed = [
            {
                "name": key.name,
                "key_id": key.key_id,
                "comment": key.comment,
                "file": str(key.path),
                "models": list(key.bounds.models),
                "ends": str(key.bounds.ends) if key.bounds.ends else None,
                "counts": not key.bounds.is_over(now),
            }
            for key in keys
        ]
        output.put(json.dumps(listed, indent=2))
        return
    for key in keys:
        comment = f'  "{key.comment}"' if key.comment and key.comment != key.name else ""
        ended = f"ENDED: its trust ended on {key.bounds.ends}" if key.bounds.is_over(now) else str(key.bounds)
        typer.echo(f"{key.name}  {key.key_id}{comment}\n  {ended}")
    if not keys:
        typer.echo(f"no key in {trust}")


def passphrase(file: Path | None, *, confirm: bool = False) -> Callable[[str], str]:
    """Answers with the file's first line, else the environment's word, else what a person types."""

    def answer(what: str) -> str:
        try:
            given = file.read_text(encoding="utf-8").partition("\n")[0] if file else os.environ.get(PASSPHRASE, "")
            if not given and file is None and sys.stdin.isatty():
                given = typer.prompt(what, hide_input=True, confirmation_prompt=confirm, err=True)
        except (OSError, UnicodeDecodeError) as error:
            raise _no_answer(f"the {what} cannot be read: {error}") from error
        if not given:
            raise _no_answer(f"the {what} is empty, or nobody is there to type it")
        return str(given)

    return answer


def _no_answer(why: str) -> ConfigError:
    return ConfigError(why, code="keys.passphrase", remedy=f"use --passphrase-file, or set {PASSPHRASE}")
