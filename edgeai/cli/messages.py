"""``edgeai messages``: what sinks refused or have not got yet; offer it again, or give it up."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeai.cli import output

if TYPE_CHECKING:
    from edgeai.spool import Spool
    from edgeai.spool.aside import Aside, Choice

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="See what a sink refused for good or has not got yet; offer it again, or give it up.\n\n"
    "A message that a sink will never take (the broker's access list forbids it, it is too large) is set aside, so that"
    " it holds up no other. It stays in the spool until it is retried or dropped: `list` says why it was refused; cure"
    " that, then `retry`. The service may be running or not.\n\n"
    "Exit status: 0 when done, also where nothing matches; 2 when the profile or the choice cannot be used; 1"
    " otherwise.",
)

SHOWN = 20

Profile = Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)]
SinkName = Annotated[str, typer.Option("--sink", metavar="SINK", help="only of this sink: mqtt, jsonl, ...")]
LaneName = Annotated[str, typer.Option("--lane", metavar="LANE", help="only of this kind: result or event")]
Key = Annotated[str, typer.Option("--key", metavar="KEY", help="only this message: a result id, or an event's key")]
Code = Annotated[str, typer.Option("--code", metavar="CODE", help="only what was refused with this code")]
Json = Annotated[bool, output.option("one JSON object, for programs")]


@app.command("list")
def list_(
    profile: Profile,
    sink: SinkName = "",
    lane: LaneName = "",
    key: Key = "",
    code: Code = "",
    every: Annotated[
        bool, typer.Option("--all", help=f"list every message; the first {SHOWN} of each code without")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is set aside, each message with why, and how many wait; nothing is changed.

    Example: edgeai messages list cart.toml --sink mqtt
    """
    choice, spool = _choice(sink, lane, key, code), _spool(profile)
    aside, waiting = spool.set_aside(choice), _waiting(spool, choice)
    if as_json:
        shown = [asdict(item) for item in aside]
        output.put(json.dumps({"set_aside": shown, "waiting": waiting}, indent=1))
        return
    for line in _lines(aside, SHOWN if not every else len(aside)):
        typer.echo(line)
    cure = "; cure the cause, then `edgeai messages retry`" if aside else _others(spool)
    typer.echo(f"{len(aside)} set aside{cure}")
    for row in waiting:
        oldest = _age(float(row["oldest_s"]))
        typer.echo(f"{row['messages']} waiting for {row['sink']} ({row['lane']}), the oldest for {oldest}")


@app.command()
def retry(
    profile: Profile,
    sink: SinkName = "",
    lane: LaneName = "",
    key: Key = "",
    code: Code = "",
    every: Annotated[bool, typer.Option("--all", help="everything that is set aside")] = False,
    as_json: Json = False,
) -> None:
    """Offer again what was set aside, each in its old place in the row. What is refused again is set aside again.

    Name what is meant, or say --all. A running service takes it up at once; else the next start does.

    Example, once the broker's access list is right: edgeai messages retry cart.toml --code mqtt.not-authorised
    """
    choice = _meant(sink, lane, key, code, every)
    spool = _spool(profile)
    _done("retried", spool.retry(choice), spool, as_json)


@app.command()
def drop(
    profile: Profile,
    sink: SinkName = "",
    lane: LaneName = "",
    key: Key = "",
    code: Code = "",
    every: Annotated[bool, typer.Option("--all", help="everything that is set aside")] = False,
    as_json: Json = False,
) -> None:
    """Give up what was set aside: that sink will never get it, and it cannot be brought back. Counted, and an event.

    Name what is meant, or say --all.

    Example: edgeai messages drop cart.toml --lane event --code mqtt.not-authorised
    """
    choice = _meant(sink, lane, key, code, every)
    spool = _spool(profile)
    _done("dropped", spool.drop(choice), spool, as_json)


def _spool(profile: Path) -> Spool:
    from edgeai.cli.device import existing_spool
    from edgeai.config import load_config

    return existing_spool(load_config(profile))


def _choice(sink: str, lane: str, key: str, code: str) -> Choice:
    from edgeai.api.errors import ConfigError
    from edgeai.spool.aside import Choice
    from edgeai.spool.queueing import LANES

    if lane and lane not in LANES:
        raise ConfigError(f"there is no lane {lane!r}", code="config.usage", remedy=f"it is one of {', '.join(LANES)}")
    return Choice(sink=sink, lane=lane, key=key, code=code)


def _meant(sink: str, lane: str, key: str, code: str, every: bool) -> Choice:
    from edgeai.api.errors import ConfigError

    if every == bool(sink or lane or key or code):
        raise ConfigError(
            "--all goes with no other choice" if every else "it is not said which messages are meant",
            code="config.usage",
            remedy="say --sink, --lane, --key or --code, or --all alone; `edgeai messages list` shows what there is",
        )
    return _choice(sink, lane, key, code)


def _done(what: str, count: int, spool: Spool, as_json: bool) -> None:
    from edgeai.spool.aside import Choice

    left = len(spool.set_aside(Choice()))
    if as_json:
        output.put(json.dumps({what: count, "set_aside": left}))
    else:
        typer.echo(f"{count} {what}, {left} still set aside{'' if count else _others(spool)}")


def _others(spool: Spool) -> str:
    """What there is where nothing was meant: a name may have been misspelt."""
    from edgeai.spool.aside import Choice

    kinds = sorted({f"{item.sink} {item.lane} {item.code}" for item in spool.set_aside(Choice())})
    return f"; set aside are: {', '.join(kinds)}" if kinds else ""


def _waiting(spool: Spool, choice: Choice) -> list[dict[str, str | int | float]]:
    """How many a sink has neither got nor refused, by sink and lane, with the age of the oldest in seconds."""
    rows: dict[tuple[str, str], list[float]] = {}
    for item in spool.waiting(choice):
        rows.setdefault((item.sink, item.lane), []).append(item.created_at)
    now = time.time()
    return [
        {"sink": sink, "lane": lane, "messages": len(times), "oldest_s": round(max(0.0, now - min(times)), 1)}
        for (sink, lane), times in sorted(rows.items())
    ]


def _lines(aside: Sequence[Aside], shown: int) -> list[str]:
    """A line for each sink, lane and code, and below it its messages with the reason of each."""
    groups: dict[tuple[str, str, str], list[Aside]] = {}
    for item in aside:
        groups.setdefault((item.sink, item.lane, item.code), []).append(item)
    lines = []
    for (sink, lane, code), items in sorted(groups.items()):
        lines.append(f"{sink}  {lane}  {code}: {len(items)}")
        for item in items[:shown]:
            since = _age(time.time() - item.at) if item.at is not None else ""
            mark = "a self-test's end, " if item.channel.startswith("selftest/") else ""
            lines.append(f"  {item.key}  {mark}{item.size_bytes} bytes, {since} ago: {' '.join(item.reason.split())}")
        if len(items) > shown:
            lines.append(f"  ... and {len(items) - shown} more; --all lists them")
    return lines


def _age(seconds: float) -> str:
    """``3 min``."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
