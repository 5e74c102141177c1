"""``fleet.toml``: for how long each role's metadata holds, and how many trusted keys must have signed a bundle."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from edgeai.api.errors import ConfigError
from edgeai.bundle.trust import TrustPolicy
from edgeai_fleet.layout import Folder

EXPIRES_DAYS: Final[Mapping[str, int]] = MappingProxyType(
    {"root": 365, "targets": 365, "rollouts": 90, "vendors": 365, "snapshot": 30, "timestamp": 7}
)
"""Days for which metadata hold where nobody says."""
_MOST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a repository's owner set."""

    expires_days: Mapping[str, int] = field(default_factory=lambda: EXPIRES_DAYS)
    threshold: int = 1

    def expiry(self, role: str, now: datetime) -> datetime:
        """When metadata of this role that are made now end, in whole seconds of UTC."""
        days = self.expires_days.get(role, self.expires_days["vendors"])
        return (now + timedelta(days=days)).astimezone(UTC).replace(microsecond=0)

    def trust(self, folder: Folder) -> TrustPolicy:
        """Whose signatures a bundle must have to be offered: those that carts ask for."""
        return TrustPolicy(keys=(folder.trust,), threshold=self.threshold)


def read_settings(folder: Folder) -> Settings:
    """The settings of a repository.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.settings``.
    """
    folder.hold_to_exist()
    try:
        body = tomllib.loads(folder.settings.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(folder, f"it cannot be read: {error}") from error
    if mistake := _mistake(body):
        raise _refused(folder, mistake)
    bundles, expires = body.get("bundles", {}), body.get("expires_days", {})
    return Settings(expires_days={**EXPIRES_DAYS, **expires}, threshold=bundles.get("threshold", 1))


def written(settings: Settings) -> bytes:
    """The file of these settings, with its comments."""
    days = "".join(f"{role} = {number}\n" for role, number in settings.expires_days.items())
    return (
        "# A repository of edgeai models; docs/guides/fleet-repository.md says how it is run.\n"
        "schema = 1\n\n"
        "[bundles]\n"
        "# So many keys of trust/ must have signed a bundle that is to be offered, as carts ask for.\n"
        f"threshold = {settings.threshold}\n\n"
        "[expires_days]\n"
        "# Carts stop updating, and never stop running, when these have ended. Renew timestamp by a timer.\n"
        f"{days}"
    ).encode()


def check_days(role: str, days: object) -> str:
    """What is wrong with a number of days for a role, if anything is."""
    if role not in EXPIRES_DAYS:
        return f"expires_days.{role}: there is no such role; there are {', '.join(EXPIRES_DAYS)}"
    if type(days) is not int or not 1 <= days <= _MOST_DAYS:
        return f"expires_days.{role}: a whole number of days from 1 to {_MOST_DAYS} (here: {days!r})"
    return ""


def _mistake(body: Mapping[str, Any]) -> str:
    if unknown := sorted(set(body) - {"schema", "bundles", "expires_days"}):
        return f"unknown key {unknown[0]}"
    if type(schema := body.get("schema", 1)) is not int or schema != 1:
        return f"schema: this edgeai reads 1 (here: {schema!r})"
    for name in ("bundles", "expires_days"):
        if not isinstance(body.get(name, {}), dict):
            return f"{name}: a table"
    bundles = body.get("bundles", {})
    if unknown := sorted(set(bundles) - {"threshold"}):
        return f"unknown key bundles.{unknown[0]}"
    if type(threshold := bundles.get("threshold", 1)) is not int or not 1 <= threshold <= 64:
        return f"bundles.threshold: a whole number from 1 to 64 (here: {threshold!r})"
    return next(filter(None, (check_days(*each) for each in body.get("expires_days", {}).items())), "")


def _refused(folder: Folder, why: str) -> ConfigError:
    return ConfigError(f"{folder.settings}: {why}", code="fleet.settings", remedy="correct the file")


def hold_to_days(days: Mapping[str, int]) -> None:
    """Refuse days of roles that there are not, or that make no sense.

    Raises:
        ConfigError: ``fleet.settings``.
    """
    for role, number in days.items():
        if mistake := check_days(role, number):
            raise ConfigError(mistake, code="fleet.settings", remedy="give --expires ROLE=DAYS, timestamp=7 say")
