"""``edgeai fleet``: a repository of signed models, as a folder that anything can serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeai.cli.keys import PassphraseFile
from edgeai_fleet.commands import conduct, demo, diffing, inventorying, reports, rollout, simulate
from edgeai_fleet.commands.given import FolderArgument, KeyOption, numbers, sign_staged, signers

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="""Run a repository of signed models, which carts read from any web server, object store or USB stick.

    Changes are staged, signed by those who hold the keys, and then published:

        edgeai fleet init repo --root alice.pub --root bob.pub --threshold root=2 ...

        edgeai fleet sign repo --key alice.key        (and bob, and the others)

        edgeai fleet publish repo --key snapshot.key --key timestamp.key

        edgeai fleet add repo us-head-2.0.0.edgeai, then sign and publish again

        edgeai fleet check repo                       (what would a cart say?)

        edgeai fleet rollout start repo us-head-2 --model us-head  (a few carts first)

    Serve REPO/public and nothing else of it. The guide docs/guides/fleet-repository.md has the key ceremony, what a
    timer has to do, and what to do when a key is lost.
    """,
)
Keys = list[Path] | None


def _public(what: str) -> Any:
    return typer.Option(help=f"Public key of {what}; again for another. Required.", metavar="PUB", show_default=False)


@app.command()
def init(
    folder: FolderArgument,
    root: Annotated[Keys, _public("root, kept offline: it says whose all other keys are")] = None,
    targets: Annotated[Keys, _public("targets: who releases models")] = None,
    rollouts: Annotated[Keys, _public("rollouts: who says which carts get them, and when")] = None,
    approvals: Annotated[
        Keys,
        typer.Option(
            help="Public key of who approves rollouts that need it; again.", metavar="PUB", show_default=False
        ),
    ] = None,
    snapshot: Annotated[Keys, _public("snapshot, at the machine that publishes")] = None,
    timestamp: Annotated[Keys, _public("timestamp, at the machine that publishes")] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(help="So many of a role's keys must sign, as root=2; 1 without.", metavar="ROLE=K"),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            help="The folder of public keys that carts trust for bundles, or one: no other is offered. Required.",
            exists=True,
            metavar="DIR|FILE",
            show_default=False,
        ),
    ] = None,
    bundle_threshold: Annotated[int, typer.Option(help="So many of them must have signed.", min=1, max=64)] = 1,
    expires: Annotated[
        list[str] | None,
        typer.Option(help="Days for which a role's metadata hold, as timestamp=3.", metavar="ROLE=DAYS"),
    ] = None,
) -> None:
    """Make a repository, with keys of its own for each role; its first metadata wait to be signed.

    Make the keys before, each where it is to stay: `edgeai keys new`, or a token and `edgeai keys public`. Only public
    halves are given here. No key may have two roles.

    Exit status: 0 when it is made; 2 when it cannot be.
    """
    from edgeai.cli.given import given
    from edgeai_fleet.beginning import begin
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.settings import EXPIRES_DAYS, Settings, hold_to_days

    keys = {"root": root, "targets": targets, "rollouts": rollouts, "snapshot": snapshot, "timestamp": timestamp}
    public = {role: given(paths, f"--{role}", "say whose keys it has") for role, paths in keys.items()}
    trusted = given(trust, "--trust", "say whose bundles are offered")
    days = numbers(expires, "--expires")
    hold_to_days(days)
    settings = Settings(expires_days={**EXPIRES_DAYS, **days}, threshold=bundle_threshold)
    public |= {"approvals": approvals} if approvals else {}
    begin(Folder(folder), public, numbers(threshold, "--threshold"), trusted, settings)
    waiting = f"root, targets{', rollouts and approvals' if approvals else ' and rollouts'}"
    typer.echo(f"made {folder}: {waiting} wait to be signed")
    reports.print_waiting(Folder(folder))


@app.command()
def add(
    folder: FolderArgument,
    bundles: Annotated[list[Path], typer.Argument(help="Signed .edgeai files.", show_default=False)],
    by_rollout: Annotated[
        bool,
        typer.Option("--by-rollout", help="No cart takes it until a rollout says so; the same again without: all."),
    ] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Stage bundles to be offered: every byte and signature is checked, and each content is packed once.

    A release below one that is offered is refused, and so is another bundle of the same number. A model whose name is
    delegated to a vendor waits for that vendor's keys, any other for those of targets. With --key it is signed at once.

    Exit status: 0 when all are staged; 1 when a bundle is refused; 2 when the repository or a key cannot be used.
    """
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.offering import add as add_bundle

    held = signers(key, passphrase_file)
    for path in bundles:
        added = add_bundle(Folder(folder), path, by_rollout=by_rollout)
        what = f"{added.name} {added.version}, release {added.release}"
        if added.new:
            sizes = f"{added.packed_bytes:,} bytes packed, {added.new_bytes:,} of them new"
            typer.echo(f"staged {what}, for {added.role} to sign: {sizes}{', by rollout only' if by_rollout else ''}")
        else:
            typer.echo(f"{what} is offered already, as it is")
    sign_staged(Folder(folder), held)


@app.command()
def delegate(
    folder: FolderArgument,
    vendor: Annotated[str, typer.Argument(help="The vendor's name, a role of its own.", show_default=False)],
    to: Annotated[Keys, typer.Option("--to", help="A public key of the vendor; again for another.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model's name that it may offer; again.")] = None,
    threshold: Annotated[int, typer.Option(help="So many of its keys must sign.", min=1, max=64)] = 1,
    remove: Annotated[bool, typer.Option("--remove", help="Take the delegation away.")] = False,
) -> None:
    """Let a vendor offer models of its own names, signed by its own keys; said again, it is as said last.

    The change waits for the keys of targets. The vendor stages and signs in a copy of the repository and sends back
    its folder `staged`; no cart believes it about any other name.

    Exit status: 0 when it is staged; 2 when it cannot be.
    """
    from edgeai.cli.given import given
    from edgeai_fleet import rotation
    from edgeai_fleet.layout import Folder

    if remove:
        rotation.undelegate(Folder(folder), vendor)
        typer.echo(f"{vendor} offers nothing any more, once that is published")
    else:
        keys = given(to, "--to", "say whose keys the vendor has")
        models = given(model, "--model", "say what it may offer")
        rotation.delegate(Folder(folder), vendor, keys, models, threshold)
        typer.echo(f"{vendor} may offer {', '.join(models)}, once that is published")
    reports.print_waiting(Folder(folder))


@app.command()
def sign(
    folder: FolderArgument,
    key: KeyOption = None,
    renew: Annotated[
        list[str] | None,
        typer.Option(help="Stage this role anew first, as it is, with a later end.", metavar="ROLE"),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign whatever is staged and is this key's to sign; signatures of other keys stay.

    Look at `edgeai fleet status` before: what is signed here is what carts will believe. snapshot and timestamp are
    signed by `edgeai fleet publish`.

    Exit status: 0 when it is signed, be it enough or not; 2 when a key has nothing to sign or cannot be used.
    """
    from edgeai.cli.given import given
    from edgeai_fleet import rotation
    from edgeai_fleet.layout import Folder

    if renew:
        rotation.renew(Folder(folder), renew)
    if not (renew and not key):
        given(key, "--key", "say who signs")
    sign_staged(Folder(folder), signers(key, passphrase_file))


@app.command()
def publish(folder: FolderArgument, key: KeyOption = None, passphrase_file: PassphraseFile = None) -> None:
    """Make what is staged public, with a new snapshot and timestamp; where nothing is staged, renew these two.

    All of it is checked first as a cart would. Files are written in an order in which a reader always sees one state
    or the other; killed at any moment, it can be called again. Call it by a timer too, so that the timestamp never
    ends: with the timestamp's key alone it renews that.

    Exit status: 0 when it is public; 2 when something is not signed enough, has ended, or is not as it was staged.
    """
    from edgeai.cli.given import given
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.publishing import publish as make_public

    given(key, "--key", "snapshot's and timestamp's keys sign it")
    done = make_public(Folder(folder), signers(key, passphrase_file))
    typer.echo("published " + ", ".join(f"{role} {version}" for role, version in done.versions.items()))
    for path in (*done.offers, *done.documents):
        typer.echo(f"  {'offered' if path in done.offers else 'signed '} {path}")
    if done.abrupt:
        typer.echo("  the root replaced keys that did not sign: clients were refused for a moment, and come again")


@app.command("rotate-key")
def rotate_key(
    folder: FolderArgument,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot, timestamp, rollouts, or a vendor.")],
    out: Annotated[
        list[str] | None, typer.Option(help="A key that goes: its name, or how its id begins.", metavar="NAME|ID")
    ] = None,
    into: Annotated[Keys, typer.Option("--in", help="A public key that comes.", metavar="PUB")] = None,
    threshold: Annotated[int | None, typer.Option(help="So many must sign from now on.", min=1, max=64)] = None,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Give a role other keys: stages what has to be signed for it, by root (or targets, for rollouts and vendors).

    Where the key that goes is still at hand, sign with it as well: then no cart is refused for a moment. A new root
    needs the old root's keys and its own.

    Exit status: 0 when it is staged; 2 when it cannot be.
    """
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.rotation import rotate

    roles = rotate(Folder(folder), role, out or (), into or (), threshold)
    typer.echo(f"{role} has other keys, once {' and '.join(roles)} {'is' if len(roles) == 1 else 'are'} published")
    sign_staged(Folder(folder), signers(key, passphrase_file))


app.command()(reports.status)
app.command()(reports.check)
app.command(name="demo")(demo.command)
app.add_typer(rollout.app, name="rollout")
app.command()(diffing.diff)
app.command()(inventorying.inventory)
app.command()(inventorying.sbom)
app.command()(conduct.conduct)
app.command()(conduct.watch)
app.command()(conduct.explain)
app.command()(simulate.simulate)
