"""Why a cart has a model or has it not, from what is retained of it and of the rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from edgeai.rollouts import Facts, Phase, Select, phase_of, place
from edgeai.rollouts.turns import not_selected
from edgeai_fleet.conducting.carts import Cart, Status
from edgeai_fleet.conducting.judging import not_meant
from edgeai_fleet.conducting.truth import PREFIX


def topics_of(site: str, device: str) -> tuple[str, ...]:
    """What has to be heard for it."""
    return (f"edgeai/1/{site}/{device}/status", f"{PREFIX}/+", f"{PREFIX}/+/{site}")


def explain(
    site: str,
    device: str,
    status: Status | None,
    rollouts: Mapping[str, Mapping[str, Any]],
    *,
    is_unreadable: bool = False,
) -> dict[str, Any]:
    """For programs: ``cart`` as it says itself, and of each rollout its ``word`` and ``lines``, as for people.

    Args:
        site: the cart's.
        device: the cart's.
        status: as it is retained; none where there is none that can be read.
        rollouts: as a conductor tells of them.
        is_unreadable: there is a status, and it cannot be read.
    """
    cart = Cart(site=site, device=device, status=status or Status(state=""), heard_at=0.0)
    return {
        "schema": 1,
        "cart": f"{site}/{device}",
        "status": None if status is None else msgspec.to_builtins(status),
        "lines": list(_cart(status, is_unreadable=is_unreadable)),
        "rollouts": [
            {
                "rollout": name,
                "model": told["model"],
                "digest": told["digest"],
                **_known(told, site, device),
                "lines": list(_rollout(name, told, cart)),
            }
            for name, told in rollouts.items()
        ],
    }


def _cart(status: Status | None, *, is_unreadable: bool) -> Iterator[str]:
    if is_unreadable:
        yield "its status cannot be read: another edgeai wrote it, or no edgeai (look at its topic at the broker)"
        return
    if status is None:
        yield "it has never said its status to this broker: it is another name, or was never there"
        return
    if status.state == "offline":
        yield "it is away from the broker; what it was before is not retained"
        return
    yield f"it is {status.state}, with edgeai {status.edgeai_version}, as of {status.at or 'an unknown time'}"
    for each in status.deployments:
        slots = each.slots
        running = slots.running if slots is not None else None
        if slots is None or running is None:
            yield f"{each.name}: takes no updates"
            continue
        yield f"{each.name}: runs {running.model} release {running.release} ({running.digest[:19]}...)"
        if slots.probation is not None:
            yield f"{each.name}: on probation, results: {slots.probation}"
        if slots.last_end is not None:
            ended = slots.last_end
            yield f"{each.name}: {(ended.digest or '')[:19]}... {ended.move}: {ended.why or 'no word why'}"
        if each.update is not None and each.update.code:
            yield f"{each.name}: its last look came to {each.update.code}: {each.update.message}"


def _rollout(name: str, told: Mapping[str, Any], cart: Cart) -> Iterator[str]:
    site, device = cart.site, cart.device
    phases = [Phase(share=phase["share"]) for phase in told["phases"]]
    number, row = phase_of(place(name, site, device), phases), _row(told, site, device)
    stands = f"place {place(name, site, device):.3f} of the row"
    if row is not None:
        reason = f": {row['code']}: {row['why']}" if row["code"] else ""
        yield f"{name}: {row['word']}, {row['stage']}{reason} (phase {row['phase']}, since {row['since']})"
    elif unfit := _unfit(told, cart):
        yield f"{name}: never: not selected: {unfit}"
    elif number is None:
        yield f"{name}: never: its phases end before this cart ({stands})"
    elif number > told["open"]:
        yield f"{name}: not yet: phase {number} is this cart's ({stands}), and {told['open']} of {len(phases)} are open"
    elif told["state"] in ("done", "cancelled"):
        yield f"{name}: it was not counted when the rollout ended (phase {number})"
    elif told["sites"].get(site, {}).get("left_out"):
        yield f"{name}: nothing stands out (its site has more carts than are listed; phase {number})"
    elif not cart.is_known:
        yield f"{name}: never seen: it is not counted, since nobody can say what it runs (phase {number})"
    else:
        slots = [each.slots for each in cart.status.deployments if each.slots]
        models = ", ".join(sorted({slot.model for each in slots if (slot := each.running)}))
        why = f"it is not selected, or takes no updates of {told['model']} (it runs {models or '?'})"
        yield f"{name}: never, as the cart is: {why}"
    if told["state"] != "running":
        yield f"{name}: it is {told['state']}: {told['said'] or 'no word why'}"


def _unfit(told: Mapping[str, Any], cart: Cart) -> str:
    """Why the plan does not mean a cart, as far as is known of it; empty where it may."""
    try:
        select = msgspec.convert(told.get("select", {}), Select)
    except msgspec.ValidationError:  # of a newer conductor
        return ""
    if not cart.is_known:
        by_name = Select(sites=select.sites, devices=select.devices)
        return not_selected(by_name, Facts(site=cart.site, device=cart.device, edgeai="", model="", digest=""))
    every = [
        not_meant(select, told.get("replaces", ()), told["digest"], cart, each)
        for each in cart.deployments_of(told["model"])
    ]
    return every[0] if every and all(every) else ""


def _known(told: Mapping[str, Any], site: str, device: str) -> dict[str, Any]:
    row = _row(told, site, device)
    return {"word": row["word"] if row else None, "code": row["code"] if row else ""}


def _row(told: Mapping[str, Any], site: str, device: str) -> dict[str, Any] | None:
    carts: Sequence[dict[str, Any]] = told["sites"].get(site, {}).get("carts", ())
    return next((cart for cart in carts if cart["device"] == device), None)
