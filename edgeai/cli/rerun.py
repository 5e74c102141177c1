"""``edgeai rerun``: failed jobs done again, once what they failed of is cured."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeai.config import Privacy
    from edgeai.spool import FailedJobs, Spool

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LOOK_EVERY_S = 0.5
_MOST_NAMED = 6


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    code: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="only jobs that failed with this code; may be repeated")
    ] = None,
    deployment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="only jobs of this deployment; may be repeated")
    ] = None,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="only this SOP Instance UID, plain or as it left the device; may be repeated"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="only jobs that failed since: 90m, 12h, 2d, or 2026-01-31T08:00")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count, and change nothing")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="do not stay until they have ended")] = False,
) -> None:
    """Do failed jobs again, as further attempts: the result id stays, ``attempt`` rises.

    It needs the files of those jobs, which the device keeps within ``spool.max_failed_bytes``; what has none any more
    can only be sent again. Jobs that are held need no rerun: they run by themselves once their deployment can.

    Example: after an update of a plugin that failed since yesterday:

    edgeai rerun cart.toml --code plugin.fault --since 1d --dry-run

    Exit status: 0 when they were put back or none matches, whatever came of them; 2 when the profile or the choice
    cannot be used; 1 otherwise.
    """
    from edgeai.cli.device import existing_spool
    from edgeai.config import load_config
    from edgeai.spool import Selection

    config = load_config(profile)
    spool = existing_spool(config)
    names = [item.name for item in config.deployments]
    selection = Selection(
        codes=tuple(code or ()),
        deployments=tuple(_known(deployment, names, spool) if deployment else ()),
        instances=_plain(instance, config.privacy, spool) if instance else (),
        since=_seconds(since) if since else None,
    )
    groups = spool.failed(selection)
    numbers = [number for group in groups for number in group.numbers if group.deployment in names]
    if groups:
        _tell(groups, numbers, names)
    else:
        typer.echo(_nothing(spool.failed(Selection())))
    if dry_run or not numbers:
        raise typer.Exit(0)
    count = spool.do_again(numbers)
    typer.echo(f"{count} put back")
    if no_wait:
        raise typer.Exit(0)
    _follow(spool, numbers)
    after = spool.failed(Selection(deployments=tuple(names)))
    failed = len(set(numbers) & {number for group in after for number in group.numbers})
    typer.echo(f"{count - failed} ended well, {failed} failed again")


def _known(wanted: Sequence[str], names: Sequence[str], spool: Spool) -> Sequence[str]:
    from edgeai.api.errors import ConfigError
    from edgeai.spool import Selection

    for name in wanted:
        if name in names:
            continue
        jobs = sum(group.jobs for group in spool.failed(Selection(deployments=(name,))))
        if jobs:
            raise ConfigError(
                f"the profile no longer has the deployment {name!r}, of which the spool has {jobs} failed jobs",
                code="config.no-deployment",
                remedy="put it back into the profile and start the device, then call this again",
            )
        raise ConfigError(
            f"the profile has no deployment {name!r}",
            code="config.no-deployment",
            remedy=f"it has: {', '.join(names) or 'none'}",
        )
    return wanted


def _plain(wanted: Sequence[str], privacy: Privacy, spool: Spool) -> tuple[str, ...]:
    """The SOP Instance UIDs that are meant, where some are given as they stand in messages: as HMACs."""
    from edgeai.privacy import UidMask

    if privacy.hmac_key_file is None:
        return tuple(wanted)
    # Also where UIDs leave plainly by now: the message may be from before.
    mask = UidMask.of(privacy.model_copy(update={"uids": "hmac"}))
    masked = {uid.strip().lower() for uid in wanted}
    return (*wanted, *(uid for uid in spool.failed_uids() if mask.uid(uid) in masked))


def _seconds(text: str) -> float:
    """``2d`` before now, or a date and time (local where it names no zone), in seconds since the epoch."""
    from edgeai.api.errors import ConfigError

    span = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if span:
        return time.time() - float(span[1]) * _UNITS[span[2]]
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except ValueError as error:
        raise ConfigError(
            f"--since {text!r} is no time",
            code="config.usage",
            remedy="say how long ago (90m, 12h, 2d), or when (2026-01-31T08:00)",
        ) from error


def _nothing(others: Sequence[FailedJobs]) -> str:
    """That none was meant, and what there is: a name may have been misspelt."""
    listed = ", ".join(f"{group.jobs} of {group.deployment} with {group.code}" for group in others[:_MOST_NAMED])
    more = ", and others" if len(others) > _MOST_NAMED else ""
    return "no failed job matches" + (f"; failed jobs here: {listed}{more}" if listed else "")


def _tell(groups: Sequence[FailedJobs], numbers: Sequence[int], names: Sequence[str]) -> None:
    width = max(len(group.deployment) for group in groups)
    for group in groups:
        lost = f", {group.without_file} without a file: send those again" if group.without_file else ""
        gone = "" if group.deployment in names else ": the profile no longer has it; put it back to do them again"
        typer.echo(f"{group.deployment:{width}}  {group.code:24}  {group.jobs} failed{gone or lost}")
    typer.echo(f"{len(numbers)} can be done again")


def _follow(spool: Spool, numbers: Sequence[int]) -> None:
    """A bar until all have ended; Ctrl-C leaves them to the device."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("doing again"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(numbers))
            while left := spool.unfinished_of(numbers):
                progress.update(task, completed=len(numbers) - left)
                _say_if_nobody_works(spool, numbers)
                time.sleep(_LOOK_EVERY_S)
            progress.update(task, completed=len(numbers))
    except KeyboardInterrupt:
        typer.echo("they go on without this command", err=True)
        raise typer.Exit(0) from None


def _say_if_nobody_works(spool: Spool, numbers: Sequence[int]) -> None:
    from edgeai.spool import is_held

    unfinished = spool.unfinished_of(numbers)
    for hold in spool.holds():
        if hold.jobs >= unfinished > 0 and spool.unfinished_of(numbers, deployment=hold.deployment) == unfinished:
            typer.echo(
                f"{hold.deployment} cannot run ({hold.code}): they are done when it can. {hold.remedy}", err=True
            )
            raise typer.Exit(0)
    if not is_held(spool.roles / "supervise.note"):
        typer.echo("the device is not running: they are done when it is (`edgeai run PROFILE`)", err=True)
        raise typer.Exit(0)
