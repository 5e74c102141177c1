"""Rollouts on a screen, from retained messages alone: a bar a phase, failures by reason, carts that stand out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edgeai.cli.terminal import steady
from edgeai.counted import counted
from edgeai_fleet.conducting.judging import WORST_FIRST
from edgeai_fleet.conducting.messages import is_of_a_site, is_summary
from edgeai_fleet.conducting.truth import PREFIX

TOPICS: Final = (f"{PREFIX}/+", f"{PREFIX}/+/+")
_BAR: Final = 12
_COLOURS: Final[Mapping[str, str]] = {
    "succeeded": "green",
    "failed": "red",
    "silent": "magenta",
    "undecided": "cyan",
    "waiting": "yellow",
}
_MARKS: Final[Mapping[str, str]] = {"succeeded": "█", "failed": "x", "silent": "?", "undecided": "░", "waiting": "·"}
_MOST_CARTS: Final = 12


def read_truth(bodies: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """By rollout its summary, with ``sites``: the messages of its sites; what is of another form is passed over."""
    rollouts: dict[str, dict[str, Any]] = {}
    sites: list[dict[str, Any]] = []
    for topic, body in sorted(bodies.items()):
        if not topic.startswith(f"{PREFIX}/"):
            continue
        try:
            message = plain(json.loads(body))
        except (ValueError, RecursionError):
            continue
        if topic.count("/") == 3 and is_summary(message):
            rollouts[steady(topic.rsplit("/", 1)[1])] = {**message, "sites": {}}
        elif topic.count("/") == 4 and is_of_a_site(message):
            sites.append(message)
    for site in sites:
        if site["rollout"] in rollouts:
            rollouts[site["rollout"]]["sites"][site["site"]] = site
    return rollouts


def plain(value: Any) -> Any:
    """The same with no letter that would steer a terminal, at any depth: a broker's words are anybody's."""
    if isinstance(value, str):
        return steady(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    return {steady(key): plain(each) for key, each in value.items()} if isinstance(value, dict) else value


def drawn(rollouts: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """All of them."""
    if not rollouts:
        return Text("no conductor has said anything of a rollout here (`edgeai fleet conduct`)")
    return Group(*(each for told in rollouts.values() for each in _rollout(told)))


def _rollout(told: Mapping[str, Any]) -> Iterable[RenderableType]:
    state = f"{told['state']}, phase {told['open']} of {len(told['phases'])}"
    yield Text(f"{told['rollout']}: {told['model']} release {told['release']}, {state}", style="bold")
    signs = "" if told["signs"] else " (this conductor signs nothing)"
    yield Text(f"  {told['step']}: {told['why']}{signs}")
    if told["trouble"]:
        yield Text(f"  TROUBLE  {told['trouble']}", style="bold red")
    yield Text(f"  as of {told['at']}", style="dim")
    yield _phases(told)
    if told["reasons"]:
        yield _reasons(told["reasons"])
    carts = [{**cart, "site": site} for site, message in told["sites"].items() for cart in message["carts"]]
    if told.get("unseen", {}).get("carts"):
        yield _unseen(told["unseen"])
    if others := [cart for cart in carts if cart["word"] != "succeeded"]:
        yield _carts(others)


def _unseen(unseen: Mapping[str, Any]) -> Text:
    what = (
        f"known by name alone, and not counted, since nobody can say what they run: {counted(unseen['carts'], 'cart')}"
    )
    return Text(f"  never seen: {what} (such as {', '.join(unseen['some'])})", style="magenta")


def _phases(told: Mapping[str, Any]) -> Table:
    """As wide as a terminal of 80 columns at most."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("phase", "share", "carts", "", *_COLOURS):
        table.add_column(name, justify="left" if name in ("phase", "") else "right", no_wrap=True)
    for number, phase in enumerate(told["phases"], 1):
        is_open = number <= told["open"]
        counts = [str(phase[name]) if is_open else "" for name in _COLOURS]
        carts = str(phase["carts"]) if is_open else "-"
        table.add_row(str(number), f"{100 * phase['share']:.3g} %", carts, _bar(phase, is_open=is_open), *counts)
    return table


def _bar(phase: Mapping[str, Any], *, is_open: bool) -> Text:
    if not is_open:
        return Text("closed", style="dim")
    bar, total = Text(), phase["carts"]
    if not total:
        return Text("nobody", style="dim")
    so_far = drawn_so_far = 0
    for name, colour in _COLOURS.items():
        so_far += phase[name]
        width = round(_BAR * so_far / total) - drawn_so_far
        bar.append(_MARKS[name] * width, style=colour)
        drawn_so_far += width
    return bar


def _reasons(reasons: Iterable[Mapping[str, Any]]) -> Table:
    table = _rows("failed", "why")
    for each in reasons:
        lines = [each["code"], each["why"]]
        if each.get("cases"):
            lines.append("golden cases: " + ", ".join(f"{case} on {carts}" for case, carts in each["cases"].items()))
        lines.append(f"such as {', '.join(each['some'][:3])}")
        table.add_row(str(each["carts"]), escape("\n".join(lines)))
    return table


def _carts(carts: list[dict[str, Any]]) -> Table:
    table = _rows("cart", "how far")
    carts.sort(key=lambda cart: WORST_FIRST.index(cart["word"]))
    for cart in carts[:_MOST_CARTS]:
        how_far = Text(cart["word"], style=_COLOURS.get(cart["word"], ""))
        how_far.append(f", {cart['stage']} (phase {cart['phase']})", style="default")
        if why := f"{cart['code']}: {cart['why']}".strip(": "):
            how_far.append(f"\n{why}", style="default")
        table.add_row(escape(f"{cart['site']}/{cart['device']}"), how_far)
    if len(carts) > _MOST_CARTS:
        table.add_row(f"and {len(carts) - _MOST_CARTS} more", "")
    return table


def _rows(head: str, told: str) -> Table:
    """Something short, and beside it lines on it, so that nothing is cut on a narrow terminal."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    table.add_column(head, overflow="fold", max_width=32)
    table.add_column(told, overflow="fold")
    return table
