"""``[trust] approvers`` and ``acceptors``: whether a key there can give its word, and signs nothing else already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import EdgeaiError
from edgeai.config import DeviceConfig
from edgeai.doctor.checks import Check
from edgeai.doctor.device import WARNING_DAYS

if TYPE_CHECKING:
    from edgeai.bundle.keys import PublicKey

_WITHOUT: Final = {
    "approvers": "no release that needs an approval can be installed",
    "acceptors": "no report of `edgeai accept` counts here",
}
"""What follows where none of the keys can give its word."""


def second_keys(config: DeviceConfig) -> Iterator[Check]:
    """One check for each of the two that the profile names."""
    for key, without in _WITHOUT.items():
        path: Path | None = getattr(config.trust, key)
        if path is not None:
            yield _check(f"trust.{key}", path, without, config)


def _check(what: str, path: Path, without: str, config: DeviceConfig) -> Check:
    from edgeai.bundle.keys import read_keys

    try:
        keys = read_keys([path])
    except (EdgeaiError, OSError) as error:
        remedy = getattr(error, "remedy", None) or "let the service's user read it; call doctor as that user"
        return Check(what=what, verdict="fail", found=f"{error}: {without}", remedy=remedy)
    if not keys:
        state = f"no key in {path}" if path.exists() else f"{path} is missing"
        remedy = f"put public keys there, or take {what} out of the profile"
        return Check(what=what, verdict="fail", found=f"{state}: {without}", remedy=remedy)
    now, others = datetime.now(UTC), _other_uses(config)
    faults = {key: fault for key in keys if (fault := _fault(key, others, now))}
    names = ", ".join(f"{key.name} ({faults[key]})" if key in faults else key.name for key in keys)
    if len(faults) == len(keys):
        remedy = "put the public key of a person there who signs nothing else"
        return Check(what=what, verdict="fail", found=f"{path}: {names}: {without}", remedy=remedy)
    ending = [key.name for key in keys if key.bounds.is_over(now + timedelta(days=WARNING_DAYS))]
    if faults or ending:
        remedy = (
            "take it away" if faults else f"have another one than {', '.join(ending)}, or move its end in trust.toml"
        )
        return Check(what=what, verdict="warn", found=f"{path}: {names}", remedy=remedy)
    return Check(what=what, verdict="ok", found=f"{path}: {names}")


def _fault(key: PublicKey, others: Mapping[str, str], now: datetime) -> str:
    if key.bounds.is_over(now):
        return f"ended on {key.bounds.ends}"
    return others.get(key.key_id, "")


def _other_uses(config: DeviceConfig) -> dict[str, str]:
    """By id what else a key signs: roles of the repository, and bundles. What cannot be read, another check says."""
    from edgeai.bundle.keys import read_keys

    uses: dict[str, str] = {}
    if config.repository is not None:
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            root = json.loads(config.repository.root.read_bytes())["signed"]
            uses |= {
                key: f"signs the repository's {role} too" for role, of in root["roles"].items() for key in of["keyids"]
            }
    with suppress(EdgeaiError, OSError):
        uses |= {key.key_id: "signs bundles too" for key in read_keys([config.trust.keys])}
    return uses
