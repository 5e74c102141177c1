"""``edgeai fleet status`` and ``check``: what there is, what waits for whom, and what a cart would say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeai.cli import output
from edgeai.counted import counted
from edgeai_fleet.commands.given import FolderArgument

if TYPE_CHECKING:
    from edgeai_fleet.auditing import Audit
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.surveying import OfferRow, RoleRow


def status(
    folder: FolderArgument, as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False
) -> None:
    """Show each role with its keys and its end, what waits for whose signature, and what is offered.

    The last columns of an offer are what a cart of one engine fetches of it: all but the other engines' artifacts.

    Exit status: 0, or 2 when the repository cannot be read.
    """
    from edgeai_fleet.layout import Folder
    from edgeai_fleet.surveying import survey

    seen = survey(Folder(folder))
    if as_json:
        output.put(json.dumps(seen.told(), indent=2))
        return
    _table(["role", "version", "ends", "needs", "keys", "staged"], [_role_cells(row) for row in seen.roles])
    if seen.offers:
        typer.echo()
        _table(
            ["model", "release", "version", "by", "public", "whole", "a cart's share"], map(_offer_cells, seen.offers)
        )


def check(
    folder: FolderArgument,
    url: Annotated[
        str | None, typer.Option(help="Read it from where it is served, https://...; the folder itself without.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The root that a cart was given; the first one without.", exists=True)
    ] = None,
    within: Annotated[int, typer.Option(help="Complain of what ends within so many days.", min=0, max=3650)] = 2,
    as_json: Annotated[bool, output.option("One JSON object, for programs.")] = False,
) -> None:
    """Read the repository as a cart would that has slept since its first root, and say what it would refuse.

    The client is python-tuf's own. Every offer is fetched, its signatures are held to the trusted keys, and every blob
    is held to its digests, packed and unpacked. Then: what ends when.

    Exit status: 0 when a cart takes all of it and nothing ends soon; 1 when not; 2 when it cannot be asked.
    """
    from datetime import UTC, datetime

    from edgeai_fleet.auditing import audit
    from edgeai_fleet.layout import Folder

    seen, now = audit(Folder(folder), url=url, root=root), datetime.now(UTC)
    soon = [each.role for each in seen.endings if each.days_left(now) < within]
    if as_json:
        endings = [
            {"role": each.role, "version": each.version, "expires": each.expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
            for each in seen.endings
        ]
        body = {
            "schema": 1,
            "accepted": not seen.objections,
            "endings": endings,
            "soon": soon,
            "offers": [asdict(each) for each in seen.offers],
            "blobs": seen.blobs,
            "objections": [asdict(each) for each in seen.objections],
        }
        output.put(json.dumps(body, indent=2))
    else:
        _print_audit(seen, soon, now)
    if seen.objections or soon:
        raise typer.Exit(1)


def print_waiting(folder: Folder) -> None:
    """A line for each staged role: what it lacks, and of whom."""
    from edgeai_fleet.surveying import survey

    waiting = [row for row in survey(folder).roles if row.staged]
    for row in waiting:
        others = [name for name in row.keys if name not in row.signed]
        lacks = (
            f"lacks {row.missing} of {counted(row.threshold, 'signature')}, of {', '.join(others) or 'its keys before'}"
        )
        typer.echo(f"  {row.role} version {row.staged}: " + (lacks if row.missing else "signed, ready to publish"))


def _print_audit(seen: Audit, soon: Sequence[str], now: Any) -> None:
    for each in seen.objections:
        typer.echo(f"REFUSED  {each.what}\n  {each.code}: {each.message}")
    for offer in seen.offers:
        typer.echo(f"good     {offer.name} {offer.version}, release {offer.release}, by {offer.role}: {offer.digest}")
    typer.echo(
        f"{counted(len(seen.offers), 'offer')} and {counted(seen.blobs, 'blob')} read; "
        f"{counted(len(seen.objections), 'objection')}"
    )
    for ending in seen.endings:
        left = ending.days_left(now)
        when = f"in {left:.1f} days" if left > 0 else "ENDED"
        mark = "SOON  " if ending.role in soon else "      "
        typer.echo(f"{mark} {ending.expires:%Y-%m-%d %H:%M} UTC  {when:<14} {ending.role} {ending.version}")
    if seen.endings:
        first = seen.endings[0]
        refusal = f"refuse updates (fleet.expired: {first.role}), and run on."
        typer.echo(f"From {first.expires:%Y-%m-%d %H:%M} UTC on carts {refusal}")


def _role_cells(row: RoleRow) -> list[str]:
    ends = f"{row.expires[:10]} ({counted(round(row.days_left), 'day')})" if row.days_left is not None else "-"
    waits = f"version {row.staged}, " + (f"{counted(row.missing, 'signature')} missing" if row.missing else "signed")
    keys = ", ".join(f"{name}{' *' if name in row.signed else ''}" for name in row.keys)
    of_whom = f" for {', '.join(row.paths)}" if row.paths else ""
    return [
        row.role,
        str(row.version or "-"),
        ends,
        f"{row.threshold} of {len(row.keys)}",
        keys + of_whom,
        waits if row.staged else "",
    ]


def _offer_cells(row: OfferRow) -> list[str]:
    shares = ", ".join(f"{name} {100 * share / row.bytes:.0f} %" for name, share in row.shares.items())
    public = "yes" if row.published else "staged"
    return [row.name, str(row.release), row.version, row.role, public, f"{row.bytes:,}", shares or "?"]


def _table(head: list[str], rows: Any) -> None:
    cells = [head, *rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
