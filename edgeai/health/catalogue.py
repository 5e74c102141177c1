"""Every problem that the account can name: what it stops, how grave it is, and what to do.

``docs/reference/health.md`` says the same, and a test holds the two together. A code is never reused and never given
another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

Stops = Literal["serving", "delivering", "both", ""]
"""``serving``: an image sent now would not be analysed. ``delivering``: a result would not leave."""

Level = Literal["problem", "warning"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code means wherever it turns up."""

    stops: Stops
    level: Level
    remedy: str


KINDS: Final[Mapping[str, Kind]] = {
    # an image sent now would not be analysed
    "role.not-running": Kind("serving", "problem", "start the service, or read its log for why this process ends"),
    "role.starting": Kind("serving", "problem", "wait: a process has just been started"),
    "role.silent": Kind("serving", "problem", "the supervisor ends and restarts it; if that goes on, read the log"),
    "ingest.port": Kind("serving", "problem", "stop what listens there, or choose another ingest.scp.port"),
    "deployment.starting": Kind("serving", "problem", "wait: a model is being verified and opened"),
    "deployment.held": Kind("serving", "problem", "give the device what it lacks; the jobs then run by themselves"),
    "deployment.unavailable": Kind("serving", "problem", "give the device what it lacks, then `edgeai rerun`"),
    "intake.refusing": Kind("serving", "problem", "make room; senders keep their images and service resumes by itself"),
    "infer.stalled": Kind("serving", "problem", "restart the service and report this with its log"),
    "connections.full": Kind("serving", "problem", "find who holds connections, or raise ingest.scp.max_associations"),
    "spool.damaged": Kind("both", "problem", "stop the service, keep a copy of the spool folder, start empty"),
    "spool.unreadable": Kind("both", "problem", "check the disk, and that the service's user owns data_dir"),
    # a result would not leave
    "sink.down": Kind("delivering", "problem", "messages wait in the spool and leave by themselves when it is back"),
    "sink.refusing": Kind(
        "delivering", "problem", "let the other side take them (its access list, its bounds), then retry"
    ),
    "sink.stuck": Kind("delivering", "problem", "look at what the sink says; `edgeai messages list` names what waits"),
    "sink.unknown": Kind("delivering", "problem", "add the sink's plugin to plugins.allow"),
    "sink.none": Kind("delivering", "problem", "enable [mqtt], [jsonl] or a sink of a plugin: results stay here"),
    "identity.taken": Kind("delivering", "problem", "give each cart of a site its own device.id and MQTT client id"),
    # either, whichever side it is on
    "certificate.expired": Kind("serving", "problem", "renew it: the new file is taken at once"),
    "certificate.not-yet-valid": Kind("serving", "problem", "set this device's clock, or wait until it is valid"),
    "certificate.unreadable": Kind("serving", "problem", "install a PEM certificate there that the service can read"),
    "selftest.failed": Kind("serving", "problem", "run `edgeai selftest PROFILE`: it says where the image got stuck"),
    # it works, and not as it should
    "deployment.degraded": Kind("", "problem", "see why its first wish was not taken: `edgeai status PROFILE`"),
    "deployment.probation-silent": Kind(
        "", "problem", "see why in the last results; a newer release is taken at once, and what stood before runs again"
    ),
    "plugin.quarantined": Kind("", "problem", "install another version, or `edgeai status PROFILE --pardon PLUGIN`"),
    "messages.set-aside": Kind("", "problem", "`edgeai messages list` says why; then retry or drop them"),
    "status.refused": Kind(
        "", "problem", "let the broker's access list take edgeai/1/SITE/DEVICE/status; it then goes"
    ),
    "spool.images-lost": Kind("", "problem", "send the files in spool/lost to this device again, then remove them"),
    "jobs.orphaned": Kind("", "problem", "put the deployment back into the profile, or let its jobs go with it"),
    "ledger.jobs": Kind("", "problem", "an image may have no end: keep the log and a copy of the spool, and report it"),
    "ledger.messages": Kind("", "problem", "a result may be lost: keep the log and a copy of the spool, and report it"),
    "health.port": Kind("", "problem", "choose another health.port, or stop what listens there"),
    # it will not go on working for ever
    "deployment.bundle-changed": Kind(
        "", "warning", "restart the service to run what is there now, or put the old file back"
    ),
    "deployment.withholding": Kind(
        "", "warning", "look at what is sent; if the images are proper ones, tell whoever made the model"
    ),
    "deployment.update-failed": Kind(
        "", "warning", "offer a repaired build: what failed here does not come again, and what stood before runs"
    ),
    "certificate.expiring": Kind("", "warning", "renew it before it ends: the new file is taken at once"),
    "certificate.not-renewed": Kind("", "warning", "install files that belong together; they are then taken at once"),
    "key.expiring": Kind("", "warning", "have the bundles signed by another key, or move the end in trust.toml"),
    "key.expired": Kind("", "warning", "a bundle that needs it does not open again: have it signed by another key"),
    "key.bounds-wrong": Kind("", "warning", "correct trust.toml: as it stands no bundle opens again"),
    "clock.unsynchronised": Kind("", "warning", "run an NTP client: times in results and certificates depend on it"),
    "clock.jumped": Kind("", "warning", "times of results around it may be wrong; let the NTP client slew the clock"),
    "connections.crowded": Kind("", "warning", "find out who connects and sends nothing: ingest's log has addresses"),
    "disk.low": Kind("", "warning", "free space (or inodes) before images are refused"),
    "delivery.unverified": Kind("", "warning", "a broker of MQTT 5: one of 3.1.1 cannot say that it refused a message"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        code: a key of ``KINDS``.
        message: one sentence. It stays the same as long as the problem does, so that it can be compared.
        remedy: what to do.
        stops: see ``Stops``.
        level: see ``Level``; a warning leaves the state ``online``.
        cause: the error code behind it, where there is one.
        about: which role, deployment, sink or file; empty where it is the whole device.
        since: seconds since the epoch, or None where that is not known.
        facts: numbers that change while it lasts (count, age in seconds).
    """

    code: str
    message: str
    remedy: str
    stops: Stops
    level: Level
    cause: str = ""
    about: str = ""
    since: float | None = None
    facts: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``since`` as RFC 3339."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "stops": list(("serving", "delivering") if self.stops == "both" else (self.stops,) if self.stops else ()),
            "cause": self.cause,
            "about": self.about,
            "since": moment(self.since),
            "facts": dict(self.facts),
        }


def problem(
    code: str,
    message: str,
    *,
    about: str = "",
    cause: str = "",
    since: float | None = None,
    remedy: str = "",
    stops: Stops | None = None,
    **facts: float,
) -> Problem:
    """A problem of the catalogue; ``remedy`` and ``stops`` where this one knows better than its kind."""
    kind = KINDS[code]
    return Problem(
        code=code,
        message=message,
        remedy=remedy or kind.remedy,
        stops=kind.stops if stops is None else stops,
        level=kind.level,
        cause=cause,
        about=about,
        since=since,
        facts=facts,
    )


def moment(at: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339, UTC, to the second."""
    if at is None:
        return None
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None
