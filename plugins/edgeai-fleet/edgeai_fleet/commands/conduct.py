"""``edgeai fleet conduct``, ``watch`` and ``explain``: what carts show of a rollout, and what follows."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.cli import output
from edgeai.cli.keys import PassphraseFile
from edgeai.cli.terminal import printable
from edgeai_fleet.commands.broker import (
    BrokerOption,
    CaOption,
    CertificateOption,
    PasswordOption,
    TlsKeyOption,
    UserOption,
    broker_of,
    hold_to_extra,
)
from edgeai_fleet.commands.given import FolderArgument, KeyOption, signers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeai_fleet.conducting.conductor import Conductor
    from edgeai_fleet.conducting.seeing import Seen

_AGAIN_S = 5.0
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


def conduct(
    folder: FolderArgument,
    broker: BrokerOption = None,
    key: KeyOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where it remembers: sqlite:///FILE, or postgresql://USER@HOST/NAME; a file in FOLDER without."
        ),
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Hear these sites alone, as a,b; another conductor hears the others.")
    ] = None,
    standby: Annotated[
        bool, typer.Option("--standby", help="Where another one signs: hear for it, and sign when it has ended.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two rounds.", min=0.1, max=3600)] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="One round, and end.")] = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    tls_key: TlsKeyOption = None,
    username: UserOption = None,
    password_file: PasswordOption = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Hear what carts show of the published rollouts; open the next phase when one has held, halt where too many fail.

    A cart has succeeded when it ended its probation well and as many results by the new digest were heard of it; no
    status for the rollout's silent_s is a failure; a cart without images is neither. Give the keys of rollouts,
    snapshot and timestamp; without keys it signs nothing, and says what it would do. It says how each rollout stands
    in retained messages (`edgeai fleet watch`), and goes on where it was after any end.

    Exit status: 0 when it was ended or --once is done; 2 when something of what was given cannot be used.
    """
    hold_to_extra()
    from edgeai_fleet.conducting.conductor import Conductor
    from edgeai_fleet.conducting.databases import url_of
    from edgeai_fleet.conducting.holding import Seat, conducted
    from edgeai_fleet.conducting.signing import signing_of
    from edgeai_fleet.conducting.store import Store
    from edgeai_fleet.layout import Folder

    repository = Folder(folder)
    repository.hold_to_exist()
    place = broker_of(broker, "conduct", ca, certificate, tls_key, username, password_file)
    held = signers(key, passphrase_file)
    signing = signing_of(repository, held) if held else None
    mine = tuple(filter(None, (sites or "").split(",")))
    if wrong := [site for site in mine if not _SITE.fullmatch(site)]:
        raise ConfigError(f"{wrong[0]!r} is no site", code="fleet.device", remedy="give --sites as profiles have them")
    kept = Store(url_of(folder, store))
    seat = Seat(repository, kept)
    try:
        if signing is not None and not standby and not seat.take():
            raise conducted(str(folder))
        _conduct(Conductor(folder=repository, store=kept, signing=signing, seat=seat, sites=mine), place, every, once)
    finally:
        seat.leave()
        kept.close()


def watch(
    rollout: Annotated[str | None, typer.Argument(help="One alone; all without.", show_default=False)] = None,
    broker: BrokerOption = None,
    once: Annotated[bool, typer.Option("--once", help="Draw it once, and end.")] = False,
    as_json: Annotated[bool, output.option("One JSON object, for programs, and end.")] = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    tls_key: TlsKeyOption = None,
    username: UserOption = None,
    password_file: PasswordOption = None,
) -> None:
    """Show how rollouts stand: a bar a phase, failures by reason, carts not done yet. By retained messages alone.

    Exit status: 0 when it was shown; 2 when the broker cannot be reached, or no conductor says anything of this
    rollout.
    """
    from rich.console import Console
    from rich.live import Live

    from edgeai_fleet.conducting.hearing import Retained
    from edgeai_fleet.conducting.watching import TOPICS, drawn, read_truth

    place = broker_of(broker, "watch", ca, certificate, tls_key, username, password_file)
    retained = Retained(place, TOPICS)

    def seen() -> dict[str, dict[str, Any]]:
        rollouts = read_truth(retained.bodies())
        return {name: told for name, told in rollouts.items() if rollout in (None, name)}

    try:
        if rollout is not None and rollout not in seen():
            raise _untold(rollout, read_truth(retained.bodies()))
        if as_json:
            output.put(json.dumps({"schema": 1, "rollouts": seen()}, indent=2))
        elif once:
            Console().print(drawn(seen()))
        else:
            with Live(drawn(seen()), refresh_per_second=2) as live:
                while not retained.connection.wait_lost(0.5):
                    live.update(drawn(seen()))
            raise ConfigError("the broker has gone", code="fleet.broker", remedy="call it again when it is back")
    except KeyboardInterrupt:
        pass
    finally:
        retained.close()


def explain(
    device: Annotated[str, typer.Argument(help="The cart, SITE/DEVICE.", show_default=False)],
    broker: BrokerOption = None,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    tls_key: TlsKeyOption = None,
    username: UserOption = None,
    password_file: PasswordOption = None,
) -> None:
    """Say why a cart has a model or has it not: what it says itself, and its place in each rollout.

    Exit status: 0 when it was said; 1 when nobody has heard of this cart, or its status cannot be read; 2 when the
    broker cannot be reached.
    """
    from edgeai_fleet.conducting.carts import read_status
    from edgeai_fleet.conducting.explaining import explain as explained
    from edgeai_fleet.conducting.explaining import topics_of
    from edgeai_fleet.conducting.hearing import Retained
    from edgeai_fleet.conducting.watching import read_truth
    from edgeai_fleet.planning import CART

    if not CART.fullmatch(device):
        raise ConfigError(f"{device} is no cart", code="fleet.device", remedy="give SITE/DEVICE, as in its profile")
    site, name = device.split("/")
    place = broker_of(broker, "explain", ca, certificate, tls_key, username, password_file)
    retained = Retained(place, topics_of(site, name))
    try:
        bodies = retained.bodies()
    finally:
        retained.close()
    retained_status = bodies.pop(f"edgeai/1/{site}/{name}/status", None)
    status = read_status(retained_status or b"")
    body = explained(
        site, name, status, read_truth(bodies), is_unreadable=retained_status is not None and status is None
    )
    if as_json:
        output.put(json.dumps(body, indent=2))
    else:
        for line in (device, *(f"  {line}" for each in (body, *body["rollouts"]) for line in each["lines"])):
            typer.echo(printable(line))
    if status is None:
        raise typer.Exit(1)


def _untold(name: str, there: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"no conductor says anything of a rollout {name!r} at this broker",
        code="fleet.no-rollout",
        remedy=f"there is {', '.join(there) or 'none'}; of one that was published `edgeai fleet conduct` tells",
    )


def _conduct(conductor: Conductor, place: Any, every: float, once: bool) -> None:
    """Rounds, over connections that may break, until somebody ends it."""
    from edgeai_fleet.conducting.hearing import Ears

    told: dict[str, str] = {}
    try:
        while True:
            try:
                ears = Ears(place, conductor.sites, conductor.store.name)
            except EdgeaiError as error:
                if once:
                    raise
                _tell(told, "", f"broker: {error}")
                time.sleep(_AGAIN_S)
                continue
            try:
                ears.settle()
                _rounds(conductor, ears, every, told, once=once)
            finally:
                ears.close()
            if once:
                return
    except KeyboardInterrupt:
        typer.echo("ended; another start goes on here")


def _rounds(conductor: Conductor, ears: Any, every: float, told: dict[str, str], *, once: bool) -> None:
    while ears.is_open:
        try:
            every_seen = conductor.round(ears)
        except EdgeaiError as error:
            if once:
                raise
            _tell(told, "", f"trouble: {error}")
        else:
            told.pop("", None)
            _tell(told, "role", _role(conductor))
            for seen in every_seen:
                _tell(told, seen.rollout.name, _line(seen))
            _tell(told, "signing", conductor.trouble)
        if once or ears.connection.wait_lost(every):
            return


def _role(conductor: Conductor) -> str:
    """What it does beside others, where that is not all."""
    if conductor.only_hears:
        return f"hears {', '.join(conductor.sites) or 'all sites'}; another one judges and signs"
    return "signs" if conductor.signs else "signs nothing"


def _line(seen: Seen) -> str:
    rollout = seen.rollout
    at = f"phase {rollout.open} of {len(rollout.plan.phases)}"
    return f"{rollout.name} ({rollout.state}, {at}): {seen.decision.step}: {seen.decision.why}"


def _tell(told: dict[str, str], what: str, line: str) -> None:
    if line and told.get(what) != line:
        typer.echo(line)
    told[what] = line
