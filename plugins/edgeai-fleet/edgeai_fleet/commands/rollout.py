"""``edgeai fleet rollout``: who takes a release, and when; and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output
from edgeai.cli.keys import PassphraseFile
from edgeai.counted import counted
from edgeai_fleet.commands.given import FolderArgument, KeyOption, sign_staged, signers

if TYPE_CHECKING:
    from edgeai.rollouts import Rollout

app = typer.Typer(
    no_args_is_help=True,
    help="""Bring a release to a few carts first, then to more; stop it; bring carts back.

    A release that is to come so is offered by rollout only, and each cart decides by itself whether its turn has come:

        edgeai fleet add repo us-head-2.0.0.edgeai --by-rollout --key release.key

        edgeai fleet rollout start repo us-head-2 --model us-head --key rollouts.key

        edgeai fleet publish repo --key snapshot.key --key timestamp.key

        edgeai fleet rollout phase repo us-head-2 --key rollouts.key   (publish again: the next phase is open)

    Something is wrong: `pause` (carts that have it run on), find out, then `resume`, or `cancel` and `rollback`.
    Nothing reaches a cart before it is published. The guide docs/guides/rollouts.md goes through a first one.
    """,
)
Name = Annotated[str, typer.Argument(help="The rollout's name: lower case, digits, hyphens.", show_default=False)]
Why = Annotated[str, typer.Option(help="A sentence for people, in the document and on each cart that waits.")]


@app.command()
def start(
    folder: FolderArgument,
    name: Name,
    model: Annotated[str | None, typer.Option(help="Whose release it is. Required.", show_default=False)] = None,
    release: Annotated[int | None, typer.Option(help="Which one; the highest without.", min=1)] = None,
    plan: Annotated[
        Path | None, typer.Option(help="TOML: selectors, windows, thresholds, needs, phases.", exists=True)
    ] = None,
    phases: Annotated[
        str | None, typer.Option(help="Percent of the devices, as 1,10,50,100 (which is usual).", show_default=False)
    ] = None,
    soak: Annotated[float, typer.Option(help="Hours for which each of these phases is open at least.", min=0)] = 24.0,
    devices: Annotated[
        Path | None, typer.Option(help="CSV with site,device: says how many are in each phase.", exists=True)
    ] = None,
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; stage and sign nothing.")] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Begin a rollout of a release that is offered by rollout only: its first phase is open.

    The plan is printed before it is signed. It never changes afterwards: pause and cancel it, and start another.

    Exit status: 0 when it is staged (and signed, with --key); 2 when it cannot be.
    """
    from edgeai.cli.given import given
    from edgeai_fleet import rollouts
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.planning import plan_of, read_devices
    from edgeai_fleet.staging import staging

    meant = given(model, "--model", "say whose release it is")
    held = signers(key, passphrase_file)
    with staging(Folder(folder)) as change:
        made = plan_of(rollouts.offer_of(change.merged, meant, release), plan, _percent(phases), soak)
        drafted = rollouts.draft(change, name, made, why)
    _print(drafted, read_devices(devices, meant) if devices is not None else None)
    if dry_run:
        return
    rollouts.start(Folder(folder), name, made, why)
    sign_staged(Folder(folder), held)


@app.command()
def phase(
    folder: FolderArgument,
    name: Name,
    early: Annotated[
        bool, typer.Option("--early", help="Though the phase before has not soaked for its time.")
    ] = False,
    why: Why = "",
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Open the next phase. Phases never close: what is to stop is paused.

    Exit status: 0 when it is staged; 2 when the rollout does not run, soaks still, or has no phase more.
    """
    _go_on(folder, name, "phase", why, key, passphrase_file, early=early)


@app.command()
def pause(
    folder: FolderArgument, name: Name, why: Why = "", key: KeyOption = None, passphrase_file: PassphraseFile = None
) -> None:
    """No cart takes it until it is resumed; one that has fetched it and not switched gives it up, the others run it on.

    Exit status: 0 when it is staged; 2 when it does not run.
    """
    _go_on(folder, name, "pause", why, key, passphrase_file)


@app.command()
def resume(
    folder: FolderArgument, name: Name, why: Why = "", key: KeyOption = None, passphrase_file: PassphraseFile = None
) -> None:
    """Go on where it was paused or halted. With `approve_resuming` in its plan a halt needs `approve` as well.

    Exit status: 0 when it is staged; 2 when it is neither paused nor halted.
    """
    _go_on(folder, name, "resume", why, key, passphrase_file)


@app.command()
def halt(
    folder: FolderArgument, name: Name, why: Why = "", key: KeyOption = None, passphrase_file: PassphraseFile = None
) -> None:
    """As a pause, because carts failed; the conductor does this at the plan's thresholds.

    Exit status: 0 when it is staged; 2 when it is over already.
    """
    _go_on(folder, name, "halt", why, key, passphrase_file)


@app.command()
def cancel(
    folder: FolderArgument, name: Name, why: Why = "", key: KeyOption = None, passphrase_file: PassphraseFile = None
) -> None:
    """End it for ever, a running one too. Carts that run it run on: bringing them back is `rollback`.

    Exit status: 0 when it is staged; 2 when it was cancelled already.
    """
    _go_on(folder, name, "cancel", why, key, passphrase_file)


@app.command()
def finish(
    folder: FolderArgument, name: Name, why: Why = "", key: KeyOption = None, passphrase_file: PassphraseFile = None
) -> None:
    """All phases are open and have held: carts that come later take it at once.

    Exit status: 0 when it is staged; 2 when a phase is still closed.
    """
    _go_on(folder, name, "finish", why, key, passphrase_file)


@app.command()
def approve(
    folder: FolderArgument,
    name: Name,
    phase: Annotated[int | None, typer.Option(help="Up to this phase; all without.", min=1)] = None,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Give a second key's word on the plan, as it is printed: for phases with `approval = true`, or after a halt.

    It is of the plan alone: a pause leaves it good, and a changed plan needs another. Signed by the role `approvals`,
    whose keys are nobody else's: `edgeai fleet init --approvals`, or `rotate-key REPO approvals --in PUB`.

    Exit status: 0 when it is staged; 2 when nobody here may approve, a key is no approver's, or there is no such
    rollout.
    """
    from edgeai_fleet import rollouts
    from edgeai_fleet.documents import read_documents
    from edgeai_fleet.layout import Folder

    held = signers(key, passphrase_file)
    _print(read_documents(Folder(folder)).rollout(name), None)
    approval = rollouts.approve(Folder(folder), name, phase, signers=held)
    after = f" after {counted(approval.halts, 'halt')}" if approval.halts else ""
    typer.echo(f"approved up to phase {approval.phase}{after}, once that is signed and published")
    sign_staged(Folder(folder), held)


@app.command()
def rollback(
    folder: FolderArgument,
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    leave: Annotated[
        list[int] | None, typer.Option(help="A release that is to be left; again. Required.", show_default=False)
    ] = None,
    to: Annotated[int | None, typer.Option(help="The release to run instead. Required.", show_default=False)] = None,
    why: Annotated[str, typer.Option(help="Why: carts remember it. Required.", show_default=False)] = "",
    site: Annotated[list[str] | None, typer.Option(help="Only carts of this site; again.")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="End the order in force. With --why alone.")] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Order carts that run a release to run another one, at once; and let no cart take what is left.

    Of a model the newest order alone is in force, so name every release that is to be left. A cart that still has the
    other one switches to it without fetching; any other fetches and rehearses it first. What is left is remembered as
    bad on each cart that leaves it; a repaired build needs a new release.

    `--lift` ends the order that is in force, where it was a mistake: who has not followed it does not, and what was
    left by it may come again, by its rollout or a new one. What failed on a cart by itself stays bad there.

    Exit status: 0 when it is staged; 2 when one of them is not offered here, the other is newer than what is left, or
    there is none to lift.
    """
    from edgeai.cli.given import given
    from edgeai_fleet import rollouts
    from edgeai_fleet.layout import Folder

    if lift:
        if leave or to or site:
            raise typer.BadParameter(
                "it ends the order as a whole: leave --leave, --to and --site out", param_hint="--lift"
            )
        reason, held = given(why, "--why", "say why, for whoever reads it on a cart"), signers(key, passphrase_file)
        lifted = rollouts.lift_back(Folder(folder), model, reason)
        typer.echo(f"order {lifted.number}: nobody leaves release {lifted.release} of {model} any more, once published")
        sign_staged(Folder(folder), held)
        return
    left = given(leave, "--leave", "say which release is to be left")
    target = given(to, "--to", "say which release is to run instead")
    reason = given(why, "--why", "say why, for whoever reads it on a cart")
    held = signers(key, passphrase_file)
    back = rollouts.order_back(Folder(folder), model, left, target, reason, sites=site or ())
    leaves = ", ".join(digest[:19] + "..." for digest in back.leaves)
    where = f" at {', '.join(site)}" if site else ""
    typer.echo(f"order {back.number}: carts{where} that run {leaves} run release {back.release} of {model} instead")
    sign_staged(Folder(folder), held)


@app.command()
def stop(
    folder: FolderArgument,
    model: Annotated[list[str] | None, typer.Option(help="Of this model alone; again. All without.")] = None,
    why: Why = "",
    lift: Annotated[bool, typer.Option("--lift", help="End the stop.")] = False,
    key: KeyOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """The emergency stop: no cart takes anything, by whatever rollout or none, until it is lifted.

    Carts run on what they run; orders of `rollback` are followed all the same.

    Exit status: 0 when it is staged; 2 when there is none to lift, or nothing is offered of a model.
    """
    from edgeai_fleet import rollouts
    from edgeai_fleet.layout import Folder

    held = signers(key, passphrase_file)
    document = rollouts.stop(Folder(folder), model or (), why, lift=lift)
    of_what = ", ".join(document.models) or "any model"
    typer.echo(f"nobody takes {of_what}, once that is published" if document.stopped else "lifted, once published")
    sign_staged(Folder(folder), held)


@app.command()
def show(
    folder: FolderArgument,
    name: Annotated[str | None, typer.Argument(help="One of them; all without.", show_default=False)] = None,
    devices: Annotated[Path | None, typer.Option(help="CSV with site,device: counts them.", exists=True)] = None,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Show rollouts with their plans, approvals, orders back and the stop: what is staged above what is published.

    Exit status: 0, or 2 when the repository cannot be read or has no such rollout.
    """
    from edgeai_fleet.documents import read_documents, unsigned_approvals
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.planning import read_devices

    seen = read_documents(Folder(folder))
    public = read_documents(Folder(folder), published=True)
    unsigned = unsigned_approvals(Folder(folder))
    shown = [seen.rollout(name)] if name else list(seen.rollouts)
    if as_json:
        _put_json(shown, seen, unsigned)
        return
    for each in shown:
        _print(each, read_devices(devices, each.plan.model) if devices is not None else None)
        if (approval := seen.approvals.get(each.name)) is not None:
            good = "" if approval.plan == each.plan.fingerprint else " (of another plan: it says nothing)"
            what = f"up to phase {approval.phase}, after {counted(approval.halts, 'halt')}{good}"
            lacks = unsigned.get(each.name, 0)
            unsigned_words = (
                f"  unsigned   an approval {what}: it counts for nothing yet, and lacks {counted(lacks, 'signature')}"
            )
            typer.echo(unsigned_words if lacks else f"  approved   {what}")
        if each not in public.rollouts:
            typer.echo("  not public yet")
    for back in seen.backs.values() if name is None else ():
        what = "lifted" if back.lifted else f"to release {back.release}"
        typer.echo(f"order {back.number} of {back.model}: {what}, because {back.why}")
    if seen.stop is not None and seen.stop.stopped and name is None:
        typer.echo(f"EMERGENCY STOP of {', '.join(seen.stop.models) or 'all models'}: {seen.stop.why or 'no word why'}")


def _go_on(
    folder: Path, name: str, what: str, why: str, key: list[str] | None, passphrase_file: Path | None, **more: Any
) -> None:
    from edgeai_fleet import rollouts
    from edgeai_fleet.layout import Folder

    held = signers(key, passphrase_file)
    rollout = rollouts.go_on(Folder(folder), name, what, why, **more)
    opened = f"phase {rollout.open} of {len(rollout.plan.phases)} open"
    typer.echo(f"{name} is {rollout.state}, {opened}, once that is published")
    sign_staged(Folder(folder), held)


def _print(rollout: Rollout, devices: Any) -> None:
    from edgeai_fleet.planning import counted as in_phases
    from edgeai_fleet.planning import in_words

    for line in in_words(rollout):
        typer.echo(line)
    if devices is None:
        return
    count = in_phases(rollout, devices)
    so_far = 0
    for number, new in enumerate(count.new, 1):
        so_far += new
        typer.echo(f"  of {counted(count.devices, 'device')}, phase {number} takes {new} more, {so_far} in all")
    for reason, many in count.left_out.items():
        typer.echo(f"  {many} never: {reason}")


def _put_json(shown: Iterable[Rollout], seen: Any, unsigned: Mapping[str, int]) -> None:
    import msgspec

    body = {
        "schema": 1,
        "rollouts": [{**msgspec.to_builtins(each), "fingerprint": each.plan.fingerprint} for each in shown],
        "approvals": [
            {**msgspec.to_builtins(each), "lacking": unsigned.get(each.rollout, 0)} for each in seen.approvals.values()
        ],
        "orders_back": msgspec.to_builtins(list(seen.backs.values())),
        "stop": msgspec.to_builtins(seen.stop),
    }
    output.put(json.dumps(body, indent=2))


def _percent(words: str | None) -> list[float]:
    if words is None:
        return []
    try:
        return [float(word) for word in words.split(",")]
    except ValueError as error:
        raise typer.BadParameter("percent with commas between, as 1,10,50,100", param_hint="--phases") from error
