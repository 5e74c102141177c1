"""``edgeai status``: what runs on which device, why not the others, what waits, and the last results."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from edgeai.config import DeviceConfig
    from edgeai.health import Health
    from edgeai.spool import Finished, Spool

_MARK = {True: "[green]●[/]", False: "[red]●[/]"}
_OUTCOME = {"completed": "green", "not-applicable": "yellow", "failed": "red"}


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object, for programs")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="redraw each second until Ctrl-C")] = False,
    last: Annotated[int, typer.Option(help="how many of the last results to list", min=0)] = 10,
    pardon: Annotated[
        str | None, typer.Option(metavar="PLUGIN", help="lift a plugin's quarantine, then show the status")
    ] = None,
) -> None:
    """Show what a device is doing, from its spool: the service need not be running.

    Exit status 0 while it serves (images are taken, every deployment can run, results can leave), else 1.
    """
    from edgeai.config import load_config
    from edgeai.health import read_health

    config = load_config(profile)
    spool = _existing_spool(config)
    if pardon is not None:
        typer.echo(f"{spool.pardon(pardon)} quarantine(s) lifted", err=True)
    if as_json:
        health = read_health(spool, config)
        typer.echo(json.dumps({**health.as_dict(), "last": [_finished(item) for item in spool.recent(last)]}, indent=1))
    elif watch:
        health = _watch(spool, config, last)
    else:
        from rich.console import Console

        health = read_health(spool, config)
        Console().print(_page(config, health, spool.recent(last)))
    raise typer.Exit(0 if health.is_serving else 1)


def _existing_spool(config: DeviceConfig) -> Spool:
    from edgeai.api.errors import SpoolError
    from edgeai.spool import Spool

    if not (config.device.data_dir / "spool" / "spool.sqlite").exists():
        raise SpoolError(
            f"nothing has run here yet: no spool in {config.device.data_dir}",
            code="spool.absent",
            remedy="start it with `edgeai run PROFILE`",
        )
    return Spool.of(config)


def _watch(spool: Spool, config: DeviceConfig, last: int) -> Health:
    from rich.live import Live

    from edgeai.health import read_health

    health = read_health(spool, config)
    try:
        with Live(_page(config, health, spool.recent(last)), auto_refresh=False) as live:
            while True:
                time.sleep(1.0)
                health = read_health(spool, config)
                live.update(_page(config, health, spool.recent(last)), refresh=True)
    except KeyboardInterrupt:
        return health


def _page(config: DeviceConfig, health: Health, recent: list[Finished]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    head = (
        f"{_MARK[health.is_serving]} [bold]{config.device.site}/{config.device.id}[/] {health.state}   "
        f"jobs waiting {health.jobs_waiting}   messages waiting {health.messages_waiting}   "
        f"disk free {health.free_bytes / 1e9:.1f} GB"
    )
    problems = [f"[yellow]! {escape(problem)}[/]" for problem in health.problems]
    return Group(head, *problems, _deployments(health), _roles(health), _last(recent))


def _deployments(health: Health) -> Table:
    from rich.markup import escape

    columns = ("name", "state", "model", "signed by", "backend", "device", "artifact", "why not the others")
    table = _table("Deployments", *columns)
    for item in health.deployments:
        state = f"{_MARK[item.state == 'ready']} {item.state}" + (" (degraded)" if item.degraded else "")
        why = "\n".join(item.others) or item.why or ""
        signed = escape(", ".join(signer.partition(" ")[0] for signer in item.signers))
        table.add_row(item.name, state, item.model, signed, item.backend, item.device, item.artifact, escape(why))
    return table


def _roles(health: Health) -> Table:
    table = _table("Processes", "role", "state", "pid", "last heard")
    for role in health.roles:
        heard = f"{role.silent_s:.1f} s ago" if role.alive else ""
        table.add_row(role.role, f"{_MARK[role.alive]} {role.state}", str(role.pid or ""), heard)
    return table


def _last(recent: list[Finished]) -> Table:
    table = _table("Last results", "finished", "deployment", "instance", "modality", "outcome", "code")
    for item in recent:
        at = time.strftime("%H:%M:%S", time.localtime(item.finished_at))
        colour = _OUTCOME.get(item.outcome, "white")
        table.add_row(
            at, item.deployment, item.sop_instance_uid, item.modality, f"[{colour}]{item.outcome}[/]", item.code
        )
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _finished(item: Finished) -> dict[str, object]:
    return {name: getattr(item, name) for name in item.__slots__}
