"""Why did a role die, and whose doing was it? Pure: an exit status and the role's last note in, a verdict out.

Blame needs evidence. A death that came from outside (``kill -9``, out of memory, the supervisor's own end) blames
nobody. When two risky steps were under way on different threads, the thread that faulthandler named decides; if
it cannot, only the job is blamed, because a quarantined backend costs more than a failed job.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeai.spool import Note, Step

OWN_DOING = frozenset(
    {
        signal.SIGABRT,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
"""Signals that a process brings on itself."""

PLUGIN_STEPS = frozenset({"load", "probe", "open", "run"})
"""Steps that a plugin answers for: an engine's, and whatever loads."""

IMAGE_STEPS = frozenset({"decode", "interpret"})
"""Steps that no engine answers for: decoding with its transforms, and what is made of the outputs. A death in there is
laid on the job alone."""

Killed = Literal["deadline", "memory", "silent"]
"""Why the supervisor ended a role."""

DeathCause = Literal["crashed", "deadline", "memory", "silent", "interrupted", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A verdict.

    Attributes:
        cause: ``crashed`` by its own doing; killed at a ``deadline``, over its budget of ``memory``, or because it was
            ``silent``; ``interrupted`` from outside; ``ended`` of itself with status 0.
        how: ``signal-SIGABRT``, ``exit-1``, ``deadline``, ``memory``, ``silent``.
        step: the plugin's step to blame, or None.
        job_id: the job that uses up an attempt, or None.
    """

    cause: DeathCause
    how: str
    step: Step | None = None
    job_id: int | None = None


def judge(status: int, note: Note | None, *, killed: Killed | None = None, crash_report: str = "") -> Death:
    """The verdict on a role.

    Args:
        status: as ``subprocess.Popen.returncode``: negative for a signal.
        note: what this very process last said, or None if it never did.
        killed: why the supervisor killed it, if it did.
        crash_report: what faulthandler wrote, if anything.
    """
    if killed == "silent":
        return Death(cause="silent", how="silent")
    if killed is None and status == 0:
        return Death(cause="ended", how=_how(status))
    if killed is None and status < 0 and -status not in OWN_DOING:
        return Death(cause="interrupted", how=_how(status))
    steps = note.steps if note else ()
    blamed = _blamed(steps, _crash_thread(crash_report))
    return Death(
        cause=killed or "crashed",
        how=killed or _how(status),
        step=blamed if blamed and blamed.plugin and blamed.step in PLUGIN_STEPS else None,
        job_id=next((step.job_id for step in steps if step.job_id is not None), None),
    )


def _how(status: int) -> str:
    if status >= 0:
        return f"exit-{status}"
    try:
        return f"signal-{signal.Signals(-status).name}"
    except ValueError:
        return f"signal-{-status}"


def _blamed(steps: Sequence[Step], thread: int | None) -> Step | None:
    """The innermost risky step of the one thread that can have done it."""
    risky = [step for step in steps if step.step in PLUGIN_STEPS or step.step in IMAGE_STEPS]
    threads = {step.thread for step in risky}
    if thread in threads:
        return [step for step in risky if step.thread == thread][-1]
    return risky[-1] if len(threads) == 1 else None


def _crash_thread(report: str) -> int | None:
    """The thread that faulthandler calls current, as ``threading.get_ident`` numbers it."""
    found = re.search(r"^Current thread 0x([0-9a-f]+)", report, re.MULTILINE)
    return int(found[1], 16) if found else None
