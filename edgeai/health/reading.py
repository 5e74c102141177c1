"""From what was gathered to the account of this moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeai.config import DeviceConfig
from edgeai.health.account import Health
from edgeai.health.catalogue import Problem, Stops, moment, problem
from edgeai.health.certificates import Certificate, certificate_problems, certificates
from edgeai.health.clock import is_synchronised
from edgeai.health.delivery import delivery_problems, ledger_problems
from edgeai.health.facts import Facts, gather
from edgeai.health.intake import intake_problems, spool_problems
from edgeai.health.keys import key_problems
from edgeai.health.running import deployment_problems, port_problems, role_problems
from edgeai.spool import Spool

_GRAVITY = {"both": 0, "serving": 1, "delivering": 2, "": 3}


def read_health(spool: Spool, config: DeviceConfig) -> Health:
    """The account of this moment. Never raises: a spool that cannot be read is a problem like any other."""
    facts = gather(spool, config)
    of_broker = facts.detail("publish", "sinks").get("mqtt") or {}
    listed = tuple(certificates(config, facts.detail("ingest", "tls"), of_broker.get("tls")))
    synchronised = is_synchronised()
    every = sorted(_every_problem(facts, listed, synchronised), key=lambda item: _GRAVITY[item.stops])
    ingest = facts.notes.get("ingest")
    return Health(
        roles=facts.roles,
        deployments=facts.deployments,
        sinks=facts.sinks,
        problems=tuple(item for item in every if item.level == "problem"),
        warnings=tuple(item for item in every if item.level == "warning"),
        ledger=facts.books.ledger,
        certificates=listed,
        disk=facts.disk,
        connections=int(ingest.detail.get("connections") or 0) if ingest else 0,
        rejections=facts.detail("ingest", "rejections"),
        clock_synchronised=synchronised,
        selftest=facts.watched("selftest"),
        read_at=facts.now,
    )


def _every_problem(facts: Facts, listed: Iterable[Certificate], synchronised: bool | None) -> Iterator[Problem]:
    yield from spool_problems(facts)
    yield from role_problems(facts)
    yield from port_problems(facts)
    yield from deployment_problems(facts)
    yield from _once(intake_problems(facts))
    yield from delivery_problems(facts)
    for item in listed:
        yield from certificate_problems(item, facts.now)
    yield from key_problems(facts.config, facts.now)
    yield from _selftest_problems(facts)
    yield from ledger_problems(facts)
    yield from _endpoint_problems(facts)
    yield from _clock_problems(facts, synchronised)


def _once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """One of each cause: a full disk is found by looking, by trying and by what senders were told."""
    seen: set[tuple[str, str, str]] = set()
    for item in problems:
        key = (item.code, item.cause, item.about)
        if key not in seen:
            seen.add(key)
            yield item


def _selftest_problems(facts: Facts) -> Iterator[Problem]:
    last = facts.watched("selftest")
    if last and not last.get("passed"):
        stops: Stops = "delivering" if last.get("stage") == "deliver" else "serving"
        message = f"the self-test failed: {last.get('message')}"
        yield problem(
            "selftest.failed", message, cause=str(last.get("code") or ""), since=last.get("since"), stops=stops
        )


def _endpoint_problems(facts: Facts) -> Iterator[Problem]:
    publish = facts.notes.get("publish")
    why = publish.detail.get("health_problem") if publish else None
    if why:
        yield problem("health.port", f"the health endpoint is not served: {why}", cause="health.port")


def _clock_problems(facts: Facts, synchronised: bool | None) -> Iterator[Problem]:
    if synchronised is False:
        yield problem("clock.unsynchronised", "nobody keeps this device's clock")
    jump = facts.watched("clock")
    if jump.get("jumped_s"):
        seconds, at = float(jump["jumped_s"]), moment(jump.get("jumped_at"))
        message = f"the clock jumped by {seconds:+.1f} s at {at}"
        yield problem("clock.jumped", message, since=jump.get("jumped_at"), seconds=seconds)
