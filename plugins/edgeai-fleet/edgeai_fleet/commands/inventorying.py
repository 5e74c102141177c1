"""``edgeai fleet inventory`` and ``edgeai fleet sbom``: what runs where, and what that was built from."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.api.errors import ConfigError
from edgeai.cli import output
from edgeai.counted import counted
from edgeai_fleet.commands.broker import (
    CaOption,
    CertificateOption,
    PasswordOption,
    TlsKeyOption,
    UserOption,
    broker_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeai.mqtt import Broker
    from edgeai_fleet.inventory import Cart

Statuses = Annotated[
    list[Path],
    typer.Argument(metavar="STATUS...", help="Saved statuses of carts: files, or folders of them.", exists=True),
]
MaybeStatuses = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[STATUS...]", help="Saved statuses of carts: files, or folders of them.", exists=True),
]

MaybeBroker = Annotated[
    str | None, typer.Option("--broker", help="Read what this broker retains, HOST or HOST:PORT.", show_default=False)
]


def inventory(
    statuses: MaybeStatuses = None,
    broker: MaybeBroker = None,
    devices: Annotated[bool, typer.Option("--devices", help="A row a cart, with its deployments.")] = False,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    tls_key: TlsKeyOption = None,
    username: UserOption = None,
    password_file: PasswordOption = None,
) -> None:
    """Say which models, versions, engines and signers run where, as the carts' own statuses have it.

    A status is what the broker retains under edgeai/1/SITE/DEVICE/status: read there (--broker), or saved, one a file
    or one a line; or both. Of one cart the youngest counts.

    Exit status: 0 when it is told; 2 when a file is no status, or the broker cannot be reached.
    """
    from edgeai_fleet.inventory import deployed, read_statuses, youngest

    if not statuses and broker is None:
        raise ConfigError(
            "nothing to read", code="fleet.no-status", remedy="give --broker HOST, or files of saved statuses"
        )
    carts = read_statuses(statuses or ())
    if broker is not None:
        place = broker_of(broker, "inventory", ca, certificate, tls_key, username, password_file)
        carts = youngest((*carts, *_retained(place)))
    if as_json:
        models = [asdict(each) for each in deployed(carts)]
        output.put(json.dumps({"carts": [asdict(cart) for cart in carts], "models": models}, indent=1))
        return
    from rich.console import Console

    Console().print(_by_cart(carts) if devices else _by_model(carts))


def sbom(
    statuses: Statuses,
    look: Annotated[
        list[Path] | None,
        typer.Option(help="Where bundles lie: a folder of them, or a repository's; again for another.", exists=True),
    ] = None,
    name: Annotated[str, typer.Option(help="Of the fleet.")] = "fleet",
    out: Annotated[Path | None, typer.Option(help="Write it there; to standard output without.")] = None,
) -> None:
    """Write the bill of materials of a fleet, CycloneDX 1.6: carts, what runs on each, and what that was built from.

    The bills that the bundles carry are put together, each held to its bundle's digest. A bundle that lies nowhere is
    listed without one, and named.

    Exit status: 0 when it is written; 1 when a bundle is not sound; 2 when a file is no status.
    """
    from edgeai_fleet.fleet_bom import fleet_bom
    from edgeai_fleet.inventory import deployed, read_statuses

    carts = read_statuses(statuses)
    bills = {each.digest: _bill(each.digest, look or []) for each in deployed(carts)}
    for each in deployed(carts):
        if bills[each.digest] is None:
            typer.echo(f"no bill of {each.model}, {each.digest}: its bundle lies nowhere, or has none", err=True)
    data = fleet_bom(name, carts, bills)
    if out is None:
        output.put(data.decode().rstrip("\n"))
    else:
        _write(out, data)


def _retained(broker: Broker) -> tuple[Cart, ...]:
    """What a broker retains, by the code that hears it for a conductor."""
    from edgeai_fleet.conducting.hearing import STATUS, Retained
    from edgeai_fleet.inventory import of_broker

    retained = Retained(broker, [STATUS.format(site="+")])
    try:
        return of_broker(retained.bodies())
    finally:
        retained.close()


def _write(out: Path, data: bytes) -> None:
    from edgeai_fleet.layout import told_of_disk

    with told_of_disk(out):
        out.write_bytes(data)


def _bill(digest: str, look: Sequence[Path]) -> dict[str, Any] | None:
    """The bill that a bundle carries, held to its digest."""
    from edgeai.bundle.documents import documents_of
    from edgeai.bundle.reader import verify_bundle
    from edgeai.cli.whereabouts import bundle_of

    with tempfile.TemporaryDirectory(prefix="edgeai-fleet-") as workplace:
        path = bundle_of(digest, None, look, Path(workplace))
        return documents_of(path, verify_bundle(path).manifest).bom if path is not None else None


def _by_model(carts: Sequence[Cart]) -> Any:
    from rich.markup import escape

    from edgeai_fleet.inventory import deployed

    table = _table(counted(len(carts), "cart"), "model", "digest", "carts", "engines", "signed by")
    for each in deployed(carts):
        engines = "\n".join(f"{count} x {engine}" for engine, count in each.engines.items())
        table.add_row(
            escape(each.model),
            f"{each.digest[:19]}...",
            str(len(each.carts)),
            escape(engines),
            escape("\n".join(each.signers) or "nobody"),
        )
    if idle := [cart.name for cart in carts if not any(item.digest for item in cart.running)]:
        table.add_row("nothing open", "", str(len(idle)), escape(", ".join(idle[:10])), "")
    return table


def _by_cart(carts: Sequence[Cart]) -> Any:
    """A cart, and beside it lines on it: nothing is cut on a terminal of 80 columns."""
    from rich.markup import escape

    table = _table(counted(len(carts), "cart"), "cart", "runs")
    for cart in carts:
        edgeai = f", edgeai {cart.edgeai}" if cart.edgeai else ""
        lines = [f"{cart.state}{edgeai}"]
        for item in cart.running:
            lines.append(f"{item.deployment}: {item.model or item.state} {item.digest and item.digest[:19] + '...'}")
            engine = " ".join(filter(None, (item.backend, item.on, item.artifact)))
            by = f"signed by {', '.join(item.signers)}" if item.signers else ""
            lines.append(f"  {'; '.join(filter(None, (engine, by)))}")
        table.add_row(escape(cart.name), escape("\n".join(line for line in lines if line.strip())))
    return table


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
