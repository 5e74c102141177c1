"""``edgeai status``: would an image sent now give a result that leaves, what runs on which device, and what waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output
from edgeai.counted import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from edgeai.config import DeviceConfig
    from edgeai.health import Health, Problem
    from edgeai.health.account import DeploymentHealth
    from edgeai.spool import Finished, Spool

NOT_SERVING = 1
NOT_DELIVERING = 3

_MARK = {True: "[green]●[/]", False: "[red]●[/]"}
_OUTCOME = {"completed": "green", "not-applicable": "yellow", "indeterminate": "yellow", "failed": "red"}


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    as_json: Annotated[bool, output.option("one JSON object, for programs")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="redraw each second until Ctrl-C")] = False,
    last: Annotated[int, typer.Option(help="how many of the last results to list", min=0)] = 10,
    pardon: Annotated[
        str | None,
        typer.Option(
            metavar="PLUGIN|DIGEST",
            help="lift a plugin's quarantine, or let a bundle come again that failed here; then show the status",
        ),
    ] = None,
) -> None:
    """Show what a device is doing, from its spool: the service need not be running.

    Exit status 0 while an image sent now would be analysed and its result would leave, 1 while it would not be
    analysed, 3 while only the result would not leave.
    """
    from edgeai.cli.device import existing_spool
    from edgeai.config import load_config
    from edgeai.health import read_health

    config = load_config(profile)
    with closing(existing_spool(config)) as spool:
        if pardon is not None:
            typer.echo(_pardoned(config, spool, pardon), err=True)
        if as_json:
            health = read_health(spool, config)
            recent = [_finished(item) for item in _recent(spool, last)]
            output.put(json.dumps({**health.as_dict(), "last": recent}, indent=1))
        elif watch:
            health = _watch(spool, config, last)
        else:
            from rich.console import Console

            health = read_health(spool, config)
            Console().print(_page(config, health, _recent(spool, last)))
    raise typer.Exit(exit_status(health))


def _pardoned(config: DeviceConfig, spool: Spool, word: str) -> str:
    """Lift what a word means: a digest, or its beginning, begins with ``sha256:``, as no plugin's name does."""
    if word.startswith("sha256:"):
        from edgeai.slots.pardons import pardon

        return pardon(config, word)
    return f"{spool.pardon(_held(spool, word))} quarantine(s) lifted"


def _held(spool: Spool, word: str) -> str:
    """The plugin that a word means: one that is held, which may be gone since; else one that is installed.

    Raises:
        PluginNotFound: none is called so; says which are near.
    """
    from edgeai.resolving import Installed

    return word if word in {item.plugin for item in spool.quarantined()} else Installed().plugin_called(word)


def exit_status(health: Health) -> int:
    """What ``edgeai status`` ends with."""
    if not health.is_serving:
        return NOT_SERVING
    return 0 if health.is_delivering else NOT_DELIVERING


def _recent(spool: Spool, last: int) -> list[Finished]:
    """The last results; none from a spool that cannot be read, which the account says."""
    from edgeai.api.errors import SpoolError

    try:
        return spool.recent(last)
    except SpoolError:
        return []


def _watch(spool: Spool, config: DeviceConfig, last: int) -> Health:
    from rich.live import Live

    from edgeai.health import read_health

    health = read_health(spool, config)
    try:
        with Live(_page(config, health, _recent(spool, last)), auto_refresh=False) as live:
            while True:
                time.sleep(1.0)
                health = read_health(spool, config)
                live.update(_page(config, health, _recent(spool, last)), refresh=True)
    except KeyboardInterrupt:
        return health


def _page(config: DeviceConfig, health: Health, recent: list[Finished]) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape

    words = (
        f"{_MARK[health.is_serving]} [bold]{'serving' if health.is_serving else 'not serving'}[/]   "
        f"{_MARK[health.is_delivering]} [bold]{'delivering' if health.is_delivering else 'not delivering'}[/]   "
        f"{config.device.site}/{config.device.id} {health.state}"
    )
    figures = (
        f"jobs waiting {health.ledger.jobs_waiting}   held {health.ledger.jobs_held}   "
        f"messages waiting {health.ledger.messages_waiting}   set aside {health.ledger.messages_aside}   "
        f"disk free {health.disk.free_bytes / 1e9:.1f} GB"
    )
    problems = (*_gathered(health.problems), *health.warnings)
    told = [line for item in problems for line in _told(item, health.read_at)]
    lines = [f"[{style}]{escape(text)}[/]" for style, text in told]
    deployments = (_deployments(health), *_reasons(health))
    return Group(words, figures, *lines, *deployments, _sinks(health), _roles(health), _last(recent))


def _gathered(problems: Sequence[Problem]) -> Iterator[Problem]:
    """Of a service that does not run, one line for all its processes."""
    ended = [item for item in problems if item.code == "role.not-running" and not item.cause]
    ended = [item for item in ended if item.remedy == ended[0].remedy]
    names = ", ".join(item.about for item in ended)
    for item in problems:
        if len(ended) < 2 or item not in ended:
            yield item
        elif item is ended[0]:
            yield replace(item, message=f"{names} are not running")


def _told(item: Problem, now: float) -> list[tuple[str, str]]:
    """A problem as lines of (style, text): what, and what to do."""
    style = {"problem": "red" if item.stops else "yellow", "warning": "yellow"}[item.level]
    mark = "!" if item.level == "problem" else "-"
    figures = [f"{name.removesuffix('_s')} {_figure(name, value)}" for name, value in item.facts.items()]
    if item.since is not None:
        figures.insert(0, f"for {_duration(now - item.since)}")
    more = f" ({', '.join(figures)})" if figures else ""
    return [(style, f"{mark} {item.code}: {item.message}{more}"), ("dim", f"    {item.remedy}")]


def _figure(name: str, value: float) -> str:
    return _duration(value) if name.endswith("_s") else f"{value:g}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _deployments(health: Health) -> Table:
    from rich.markup import escape

    is_signed = any(item.signers for item in health.deployments)
    table = _table("Deployments", "name", "state", "model", "runs on", *(["signed by"] if is_signed else []))
    for item in health.deployments:
        state = f"{_MARK[item.state == 'ready']} {item.state}" + (" (degraded)" if item.degraded else "")
        signed = escape(", ".join(signer.partition(" ")[0] for signer in item.signers))
        device = f"{item.device}, {item.threads} threads" if item.threads else item.device
        runs_on = escape(f"{item.backend} on {device}, {item.artifact}") if item.backend else ""
        table.add_row(item.name, state, item.model, runs_on, *([signed] if is_signed else []))
    return table


def _reasons(health: Health) -> Iterator[RenderableType]:
    """Below the table, with the whole width: what it withheld, why it does not run, and why not on the others."""
    from rich.padding import Padding
    from rich.text import Text

    from edgeai.slots import sentences

    for item in health.deployments:
        for line in sentences(item.slots) if item.slots else ():
            yield Padding(Text(f"{item.name}: {line}"), (0, 0, 0, 2))
        if item.requires:
            yield Padding(Text(f"{item.name}: {_required(health, item)}"), (0, 0, 0, 2))
        if item.lately.withheld:
            yield Padding(Text(f"{item.name}: {item.lately}", style="yellow"), (0, 0, 0, 2))
        for why in item.others or ((item.why,) if item.why else ()):
            yield Padding(Text(f"{item.name}: {why}", style="dim"), (0, 0, 0, 2))


def _required(health: Health, item: DeploymentHealth) -> str:
    """``requires class:frontal of view; 2 jobs await it; not said of 7 of the last 50``."""
    awaiting = next((entry.awaiting for entry in health.ledger.jobs if entry.deployment == item.name), 0)
    words = [f"requires {' and '.join(item.requires)}"]
    words += [f"{counted(awaiting, 'job')} waiting for that"] if awaiting else []
    words += [f"not said of {item.lately.unasked} of the last {item.lately.ended}"] if item.lately.unasked else []
    return "; ".join(words)


def _sinks(health: Health) -> Table:
    table = _table("Sinks", "name", "state", "waiting", "oldest", "set aside", "delivered")
    for sink in health.sinks:
        state = "unknown" if sink.up is None else f"{_MARK[sink.up]} {'up' if sink.up else 'down'}"
        state += ", unverified" if sink.unverified else ""
        oldest = max(sink.oldest_s.values(), default=None)
        delivered = sum(entry.delivered for entry in health.ledger.messages if entry.sink == sink.name)
        row = (str(sink.waiting), "" if oldest is None else _duration(oldest), str(sink.aside), str(delivered))
        table.add_row(sink.name, state, *row)
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
