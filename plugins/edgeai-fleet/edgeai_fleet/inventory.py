"""What runs where: the retained status of each cart, as somebody saved it or as the broker has it, in rows.

A status says what a cart says of itself. Nothing here is proof; a result's signers and digest are (`edgeai trace`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import ConfigError
from edgeai.cli.terminal import printable

_SCHEMAS: Final = (1, 2)
_MOST_LETTERS: Final = 400
_MOST_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A deployment of a cart; ``digest`` is empty where nothing is open."""

    deployment: str
    state: str
    model: str = ""
    digest: str = ""
    release: int | None = None
    backend: str = ""
    on: str = ""
    artifact: str = ""
    signers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cart:
    """One device; ``at`` is when its status was so, by its own clock, empty where it does not say."""

    site: str
    device_id: str
    state: str
    edgeai: str = ""
    machine: str = ""
    at: str = ""
    running: tuple[Running, ...] = ()

    @property
    def name(self) -> str:
        """``site/device``."""
        return f"{self.site}/{self.device_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A bundle, and all that runs it."""

    model: str
    digest: str
    signers: tuple[str, ...]
    engines: Mapping[str, int]
    carts: tuple[str, ...]


def read_statuses(paths: Iterable[Path]) -> tuple[Cart, ...]:
    """The carts of these files and folders: a status a file, or one a line; the youngest of each cart counts.

    Raises:
        ConfigError: ``fleet.no-status``.
    """
    return youngest(cart for path in paths for file in _files(path) for cart in _of_file(file))


def of_broker(bodies: Mapping[str, bytes]) -> tuple[Cart, ...]:
    """The carts of retained messages, by topic, each under the name of its topic: the broker vouches for that, and not
    for what the message says. What is no status is passed over: one cart must not hide all others.
    """
    carts = []
    for topic, body in bodies.items():
        _, _, site, device, _ = topic.split("/")
        with contextlib.suppress(ValueError, RecursionError):
            carts.append(replace(cart_of(json.loads(body)), site=_plain(site), device_id=_plain(device)))
    return youngest(carts)


def youngest(carts: Iterable[Cart]) -> tuple[Cart, ...]:
    """Each once, by name. Of two statuses the one that says the later time, or that comes later."""
    by_name: dict[str, Cart] = {}
    for cart in carts:
        before = by_name.get(cart.name)
        if before is None or cart.at >= before.at or not cart.at:
            by_name[cart.name] = cart
    return tuple(by_name[name] for name in sorted(by_name))


def cart_of(body: Any) -> Cart:
    """What a status says.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(body, dict) or body.get("schema") not in _SCHEMAS or not isinstance(body.get("state"), str):
        raise ValueError("it is no status of a cart")
    listed = body.get("deployments", ())
    return Cart(
        site=_text(body, "site"),
        device_id=_text(body, "device_id"),
        state=_text(body, "state"),
        edgeai=_text(body, "edgeai_version"),
        machine=_text(body, "machine"),
        at=_text(body, "at"),
        running=tuple(_running(item) for item in listed if isinstance(item, dict)) if isinstance(listed, list) else (),
    )


def deployed(carts: Sequence[Cart]) -> tuple[Deployed, ...]:
    """By bundle and who is said to have signed it, most carts first: no cart's word stands beside others'."""
    runs: dict[tuple[str, tuple[str, ...]], list[tuple[Cart, Running]]] = {}
    for cart in carts:
        for item in cart.running:
            if item.digest:
                runs.setdefault((item.digest, tuple(sorted(set(item.signers)))), []).append((cart, item))
    made = [_deployed(digest, signers, pairs) for (digest, signers), pairs in runs.items()]
    return tuple(sorted(made, key=lambda each: (-len(each.carts), each.model, each.digest, each.signers)))


def _deployed(digest: str, signers: tuple[str, ...], pairs: Sequence[tuple[Cart, Running]]) -> Deployed:
    engines: dict[str, int] = {}
    for _, item in pairs:
        engine = " ".join(filter(None, (item.backend, item.on, item.artifact)))
        engines[engine] = engines.get(engine, 0) + 1
    return Deployed(
        model=next((item.model for _, item in pairs if item.model), ""),
        digest=digest,
        signers=signers,
        engines=dict(sorted(engines.items())),
        carts=tuple(sorted({cart.name for cart, _ in pairs})),
    )


def _running(item: Mapping[str, Any]) -> Running:
    slots = item.get("slots")
    active = slots.get("active") if isinstance(slots, dict) else None
    slot = slots.get(active) if isinstance(slots, dict) and isinstance(active, str) else None
    signers, release = item.get("signers"), slot.get("release") if isinstance(slot, dict) else None
    return Running(
        deployment=_text(item, "name"),
        state=_text(item, "state"),
        model=_text(item, "model"),
        digest=_text(item, "digest"),
        release=release if isinstance(release, int) and not isinstance(release, bool) else None,
        backend=_text(item, "backend"),
        on=_text(item, "device"),
        artifact=_text(item, "artifact"),
        signers=tuple(_plain(each) for each in signers if isinstance(each, str)) if isinstance(signers, list) else (),
    )


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return _plain(value) if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Words as they may stand on a terminal."""
    return printable(text[:_MOST_LETTERS])


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(each for each in path.rglob("*") if each.suffix in (".json", ".jsonl") and each.is_file())
    else:
        yield path


def _of_file(path: Path) -> Iterator[Cart]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        for body in _bodies(data):
            yield cart_of(body)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} holds no status: {error}",
            code="fleet.no-status",
            remedy="save what the broker retains under edgeai/1/SITE/DEVICE/status: one a file, or one a line",
        ) from error


def _bodies(data: bytes) -> list[Any]:
    try:
        return [json.loads(data)]
    except ValueError:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]
