"""``edgeai fleet simulate``: what a rollout would do, before anything is signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.api.errors import ConfigError
from edgeai.cli import output
from edgeai.counted import counted
from edgeai_fleet.commands.given import FolderArgument
from edgeai_fleet.spans import span

if TYPE_CHECKING:
    from edgeai_fleet.conducting.simulating import Forecast
    from edgeai_fleet.conducting.world import World

DevicesOption = Annotated[
    Path | None, typer.Option(help="Or these: CSV as `rollout start --devices` takes it.", exists=True)
]
AgreesOption = Annotated[
    float, typer.Option(help="Share of images on which it agrees with what runs, where a shadow is asked for.")
]
ApprovedOption = Annotated[
    float | None, typer.Option(help="Hours until a second key approves a phase that needs it; never, without.", min=0)
]
OffsetOption = Annotated[
    float, typer.Option(help="Hours by which the carts' clocks are ahead of UTC: windows go by them.", min=-14, max=14)
]
_PLURALS = {"result": "results", "status": "statuses", "event": "events"}


def simulate(
    folder: FolderArgument,
    rollout: Annotated[str, typer.Argument(help="Its name; what is staged and not signed yet does.")],
    carts: Annotated[int | None, typer.Option(help="So many carts of no particular kind.", min=1, max=100_000)] = None,
    devices: DevicesOption = None,
    rehearsal_fails: Annotated[float, typer.Option(help="Share that does not answer its golden cases.")] = 0.0,
    probation_fails: Annotated[float, typer.Option(help="Share that goes back on probation.")] = 0.0,
    silent: Annotated[float, typer.Option(help="Share that is not heard any more.")] = 0.0,
    idle: Annotated[float, typer.Option(help="Share that has no images.")] = 0.0,
    images: Annotated[float, typer.Option(help="Completed results of a cart a day.", min=0.0, max=1e6)] = 40.0,
    results: Annotated[int, typer.Option(help="So many prove it: probation_results.", min=1, max=200)] = 20,
    link: Annotated[float, typer.Option(help="Kilobytes a second that a cart fetches.", min=0.01, max=1e7)] = 125.0,
    size: Annotated[float, typer.Option(help="Kilobytes that a cart fetches.", min=0.0, max=1e9)] = 400.0,
    look_every: Annotated[float, typer.Option(help="Hours between two looks of a cart.", min=0.001, max=720)] = 6.0,
    agrees: AgreesOption = 0.99,
    approved_after: ApprovedOption = None,
    utc_offset: OffsetOption = 0.0,
    seed: Annotated[int, typer.Option(help="Of all chance: the same seed, the same run.")] = 1,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Say what a rollout would do with these carts: when each phase is opened, where it halts, time and bytes.

    Carts ask whether their turn has come (phases, windows, approvals), are shown beside what runs, judged and decided
    on by the code of real carts and of a conductor; only time and chance are simulated. It is a look at the plan's
    bounds, and no promise: give the rates that your carts have.

    Exit status: 0 when it would be done; 1 when it would halt or never end; 2 when it cannot be asked.
    """
    from edgeai_fleet.conducting.simulating import simulate as simulated
    from edgeai_fleet.conducting.world import fleet_of
    from edgeai_fleet.documents import read_documents
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.planning import read_devices

    if (carts is None) == (devices is None):
        raise typer.BadParameter("give one of the two", param_hint="--carts or --devices")
    world = _world(
        bytes=round(size * 1000),
        link=link * 1000,
        look_every_s=look_every * 3600,
        images=images,
        needed=results,
        approved_after_s=None if approved_after is None else approved_after * 3600,
        utc_offset_h=utc_offset,
        seed=seed,
        rehearsal_fails=rehearsal_fails,
        probation_fails=probation_fails,
        silent=silent,
        idle=idle,
        agrees=agrees,
    )
    documents = read_documents(Folder(folder))
    document = documents.rollout(rollout)
    model = document.plan.model
    fleet = read_devices(devices, model) if devices is not None else fleet_of(carts or 0, model)
    forecast = simulated(document, fleet, world, documents.approvals.get(rollout))
    _put(rollout, forecast, as_json=as_json)
    if forecast.state != "done":
        raise typer.Exit(1)


def _world(**assumed: Any) -> World:
    """A world in which these are assumed.

    Raises:
        ConfigError: ``fleet.shares``.
    """
    from edgeai_fleet.conducting.world import World

    _hold_to_shares(
        {name: assumed[name] for name in ("rehearsal_fails", "probation_fails", "silent", "idle", "agrees")}
    )
    return World(**assumed)


def _hold_to_shares(shares: dict[str, float]) -> None:
    if any(not 0.0 <= share <= 1.0 for share in shares.values()) or sum(list(shares.values())[:3]) > 1.0:
        raise ConfigError(
            "shares of carts are from 0 to 1, and those that fail or fall silent no more than all",
            code="fleet.shares",
            remedy="give 0.02 for two in a hundred",
        )


def _put(rollout: str, forecast: Forecast, *, as_json: bool) -> None:
    if as_json:
        output.put(json.dumps({"schema": 1, "rollout": rollout, **asdict(forecast)}, indent=2))
        return
    for line in _lines(forecast):
        typer.echo(line)


def _lines(forecast: Forecast) -> Iterator[str]:
    left_out = f"; not meant by it: {forecast.left_out}" if forecast.left_out else ""
    yield f"{counted(forecast.carts, 'cart')} in it{left_out}"
    for change in forecast.changes:
        yield f"  after {change.at_s / 3600:7.1f} h  {change.step:<6} {change.why}"
    if forecast.state == "running":
        yield f"  after {forecast.seconds / 3600:7.1f} h  it goes no further: {forecast.why}"
    for code, number in forecast.reasons.items():
        yield f"  {counted(number, 'cart'):>12}: {code}"
    kinds = ", ".join(f"{number:,} {_PLURALS[kind]}" for kind, number in forecast.said.items())
    yield f"{forecast.state} after {span(forecast.seconds)}; {forecast.fetched_bytes / 1e6:,.1f} MB fetched"
    yield f"  {forecast.messages:,} messages of {forecast.message_bytes / 1e6:,.1f} MB: {kinds}"
