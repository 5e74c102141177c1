"""``edgeai verify BUNDLE``: is it whole, who signed it, and is that enough?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.bundle.reader import Verified
    from edgeai.bundle.trust import SignatureCheck

TRUST_HELP = "A public key, or a folder of them; may be given again."
_SAYS = {
    "good": "good     signed by",
    "bad": "BAD      not written by",
    "unknown": "unknown  no trusted key has the id",
    "expired": "expired  signed by",
    "elsewhere": "other    not of this model: signed by",
}


def command(
    bundle: Annotated[Path, typer.Argument(help="A .edgeai file, or the folder of an unpacked bundle.")],
    trust: Annotated[list[Path] | None, typer.Option(help=TRUST_HELP, exists=True, metavar="DIR|FILE")] = None,
    threshold: Annotated[int, typer.Option(min=1, max=64, help="So many different trusted keys must have signed.")] = 1,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Check every byte of a bundle and every signature, and say who signed.

    A trust.toml beside the keys is heeded: a key that is bound to other models, or whose trust has ended, does not
    count.

    Exit status: 0 when the bundle is whole and enough trusted keys signed it; 1 when it is damaged, unsigned, not
    trusted (without --trust nobody is) or bears a bad signature; 2 when the command, a key or trust.toml cannot be
    used.
    """
    from edgeai.bundle.keys import read_keys
    from edgeai.bundle.reader import verify_bundle
    from edgeai.bundle.trust import TrustPolicy, check_signatures

    keys = read_keys(trust or ())
    verified = verify_bundle(bundle)
    seen = check_signatures(verified.envelope, verified.manifest_bytes, keys) if verified.envelope else ()
    (_print_json if as_json else _print)(bundle, verified, seen, threshold)
    policy = TrustPolicy(keys=tuple(trust or ()), threshold=threshold)
    policy.check(verified.envelope, verified.manifest_bytes, bundle.name).by(verified.manifest.name)


def _print(bundle: Path, verified: Verified, seen: tuple[SignatureCheck, ...], threshold: int) -> None:
    manifest = verified.manifest
    typer.echo(f"{bundle}: {manifest.name} {manifest.version}, {verified.digest}")
    if verified.absent:
        typer.echo(
            f"  content    good     what is held is what the manifest says; not fetched: {', '.join(verified.absent)}"
        )
    else:
        typer.echo(f"  content    good     {len(manifest.files)} files are what the manifest says")
    for item in seen:
        who = f" {item.key.name} ({_comment(item)}{item.key.path})" if item.key else ""
        typer.echo(f"  signature  {_SAYS[item.of(manifest.name)]}{who} {item.key_id}{_bounds(item)}")
    good = sum(item.of(manifest.name) == "good" for item in seen)
    typer.echo(f"  trusted    {good} of {threshold} needed" + ("" if seen else "; it is not signed"))


def _comment(item: SignatureCheck) -> str:
    comment = item.key.comment if item.key else ""
    return f'"{comment}", ' if item.key and comment and comment != item.key.name else ""


def _bounds(item: SignatureCheck) -> str:
    """What its key is bound to, if it is."""
    if item.key is None or not (item.key.bounds.models or item.key.bounds.ends):
        return ""
    return f"; its trust ended on {item.key.bounds.ends}" if item.verdict == "expired" else f"; {item.key.bounds}"


def _print_json(bundle: Path, verified: Verified, seen: tuple[SignatureCheck, ...], threshold: int) -> None:
    signatures: list[dict[str, Any]] = [
        {
            "key_id": item.key_id,
            "verdict": item.of(verified.manifest.name),
            "name": item.key.name if item.key else None,
            "comment": item.key.comment if item.key else None,
            "file": str(item.key.path) if item.key else None,
            "models": list(item.key.bounds.models) if item.key else [],
            "ends": str(item.key.bounds.ends) if item.key and item.key.bounds.ends else None,
        }
        for item in seen
    ]
    bad = any(item.verdict == "bad" for item in seen)
    good = sum(item.of(verified.manifest.name) == "good" for item in seen)
    body = {
        "bundle": str(bundle),
        "name": verified.manifest.name,
        "version": verified.manifest.version,
        "digest": verified.digest,
        "not_fetched": list(verified.absent),
        "signatures": signatures,
        "threshold": threshold,
        "trusted": good >= threshold and not bad,
    }
    output.put(json.dumps(body, indent=2))
