"""Problems of processes and deployments: would an image that came in be analysed?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from edgeai.health.account import DeploymentHealth, age_s
from edgeai.health.catalogue import Problem, Stops, problem
from edgeai.health.facts import Facts
from edgeai.health.withholding import is_much
from edgeai.remedies import remedy_for

OVERDUE_S: Final = 10.0
"""How long after a deadline the supervisor may take to end who overran it."""
WRITING_S: Final = 30.0
"""How long the end of a job may take to be written."""

_STOPS: Final[Mapping[str, Stops]] = {"publish": "delivering", "update": ""}
"""What a role stops that is gone, where that is not serving."""
_SILENT_IMAGES: Final = 5
"""So many images on probation of which none was completed are worth a word."""

_SUPERVISOR_SILENT: Final = "restart the service, as systemd's watchdog does by itself; if that goes on, read the log"
"""Nobody in the service watches over the supervisor."""


def role_problems(facts: Facts) -> Iterator[Problem]:
    """Processes that are gone or say nothing."""
    for role in facts.roles:
        stops = _STOPS.get(role.role, "serving")
        if not role.alive:
            yield _not_running(facts, role.role, stops)
        elif role.role in ("ingest", "publish") and role.state == "starting":
            yield problem("role.starting", f"{role.role} is starting", about=role.role, stops=stops)
        elif role.silent_s > facts.config.supervise.silent_s:
            message = f"{role.role} has said nothing for over {facts.config.supervise.silent_s:g} s"
            remedy = _SUPERVISOR_SILENT if role.role == "supervise" else ""
            yield problem(
                "role.silent", message, about=role.role, stops=stops, remedy=remedy, silent_s=round(role.silent_s, 1)
            )


def _not_running(facts: Facts, role: str, stops: Stops) -> Problem:
    message, note = f"{role} is not running", facts.failed.get(role)
    if note is not None:
        cause, why = str(note.detail.get("code") or ""), str(note.detail.get("why") or "")
        remedy = str(note.detail.get("remedy") or "") or remedy_for(cause)
        return problem("role.not-running", f"{message}: {why}", about=role, cause=cause, stops=stops, remedy=remedy)
    edited = "supervise" in facts.notes and role not in facts.known_roles
    remedy = "restart the service: it was started before the profile asked for this" if edited else ""
    return problem("role.not-running", message, about=role, stops=stops, remedy=remedy)


def port_problems(facts: Facts) -> Iterator[Problem]:
    """The DICOM port that ingest cannot open."""
    closed = facts.detail("ingest", "port")
    if closed:
        remedy, cause = str(closed.get("remedy") or ""), str(closed.get("code") or "")
        yield problem("ingest.port", str(closed.get("why")), about="ingest", cause=cause, remedy=remedy)


def deployment_problems(facts: Facts) -> Iterator[Problem]:
    """Deployments that cannot run, are not getting on, or run on something else than their first wish."""
    for deployment in facts.deployments:
        role = f"infer:{deployment.name}"
        if role not in facts.notes:
            continue  # said of the process already
        if deployment.state == "ready":
            yield from _ready(facts, deployment)
        elif deployment.state == "starting":
            yield problem("deployment.starting", f"deployment {deployment.name} is being opened", about=deployment.name)
        else:
            yield _cannot_run(facts, deployment)
    for deployment in facts.deployments:
        yield from _update(deployment)
    for item in facts.books.quarantined:
        message = f"{item.plugin} {item.version} is quarantined on {item.deployment}: {item.cause} at {item.step}"
        yield problem("plugin.quarantined", message, about=item.plugin, cause=item.cause, since=item.since)
    yield from _orphans(facts)


def _ready(facts: Facts, deployment: DeploymentHealth) -> Iterator[Problem]:
    name = deployment.name
    if deployment.degraded:
        message = f"deployment {name} runs on its second choice: {deployment.why or ''}".rstrip(": ")
        yield problem("deployment.degraded", message, about=name)
    yield from _changed(facts, name)
    if is_much(deployment.lately):
        message = f"deployment {name} withholds many of the images that come, mostly {deployment.lately.code}"
        yield problem(
            "deployment.withholding", message, about=name, withheld=deployment.lately.withheld, of=deployment.lately.of
        )
    stalled = _stalled(facts, name)
    if stalled:
        entry = next((entry for entry in facts.books.ledger.jobs if entry.deployment == name), None)
        jobs, oldest = (entry.waiting, age_s(entry.oldest_waiting_at, facts.now)) if entry else (0, None)
        message = f"deployment {name} is not getting on: {stalled}"
        yield problem("infer.stalled", message, about=name, jobs=jobs, oldest_s=oldest or 0.0)


def _update(deployment: DeploymentHealth) -> Iterator[Problem]:
    """The last update did not stay, and nothing has come since; or what is on probation completes nothing."""
    probation = (deployment.slots or {}).get("probation")
    if probation and not probation["completed"]:
        counts = {kind: probation[kind] for kind in ("failed", "withheld")}
        if sum(counts.values()) >= min(_SILENT_IMAGES, probation["needed"]):
            told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
            message = f"what {deployment.name} runs on probation has completed no image yet: {told}"
            yield problem("deployment.probation-silent", message, about=deployment.name)
    ended = (deployment.slots or {}).get("last_end")
    if ended and ended["stands"] and ended["move"] in ("rolled-back", "failed", "damaged"):
        from edgeai.slots.telling import ENDS  # of no use without slots, and not small

        message = f"the last update of {deployment.name} {ENDS[ended['move']]}: {ended['why']}"
        yield problem("deployment.update-failed", message, about=deployment.name, cause=ended["code"] or "")


def _changed(facts: Facts, name: str) -> Iterator[Problem]:
    """What infer saw on disk that is not what it runs."""
    on_disk = facts.detail(f"infer:{name}", "on_disk")
    code = str(on_disk.get("code") or "")
    if code:
        message = f"what deployment {name} runs could not be opened after the next restart: {on_disk.get('why')}"
        yield problem("deployment.bundle-changed", message, about=name, cause=code, remedy=remedy_for(code))
    elif on_disk.get("digest"):
        message = f"the bundle of deployment {name} changed on disk, and runs after the next restart"
        yield problem("deployment.bundle-changed", message, about=name)


def _stalled(facts: Facts, name: str) -> str:
    """Why it is not getting on; empty when it is."""
    note = facts.notes[f"infer:{name}"]
    for step in note.steps:
        age = time.monotonic() - step.since
        if step.deadline_s > 0 and age > step.deadline_s + OVERDUE_S:
            return f"{step.step} outlived its deadline of {step.deadline_s:g} s and goes on"
        if step.step == "finish" and age > WRITING_S:
            return "the end of a job cannot be written"
    return "jobs wait, and none is being run" if name in facts.books.idle else ""


def _cannot_run(facts: Facts, deployment: DeploymentHealth) -> Problem:
    hold = next((hold for hold in facts.books.holds if hold.deployment == deployment.name), None)
    why = (hold.reason if hold else deployment.why) or "no reason was given"
    message = f"deployment {deployment.name} cannot run: {why}"
    if hold is None:
        return problem("deployment.unavailable", message, about=deployment.name, cause=deployment.code or "")
    return problem(
        "deployment.held",
        message,
        about=deployment.name,
        cause=hold.code,
        since=hold.since,
        remedy=hold.remedy or remedy_for(hold.code),
        jobs=hold.jobs,
        oldest_s=age_s(hold.oldest, facts.now) or 0.0,
    )


def _orphans(facts: Facts) -> Iterator[Problem]:
    """Jobs of deployments that the profile no longer has."""
    deployed = {deployment.name for deployment in facts.deployments}
    for entry in facts.books.ledger.jobs:
        jobs = entry.waiting + entry.held
        if jobs and entry.deployment not in deployed:
            message = f"jobs wait for the deployment {entry.deployment}, which the profile does not have"
            yield problem("jobs.orphaned", message, about=entry.deployment, jobs=jobs)
