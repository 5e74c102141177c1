"""Why did a role die, and whose doing was it? Pure: an exit status and the role's last note in, a verdict out.

Blame needs evidence. A death that came from outside (``kill -9``, out of memory, the supervisor's own end) blames
nobody. When two risky steps were under way on different threads, the thread that faulthandler named decides; if
it cannot, only the job is blamed, because a quarantined backend costs more than a failed job. When several jobs were
under way, the job too must be named by that thread; else nobody is blamed, and each is done again by itself.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeai.spool import Note, Underway

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
            ``silent``; ``interrupted`` from outside, or silent from its start; ``ended`` of itself with status 0.
        how: ``signal-SIGABRT``, ``exit-1``, ``deadline``, ``memory``, ``silent``.
        step: the plugin's step to blame, or None.
        job_id: the job that uses up an attempt, or None.
        suspects: the jobs that were under way, where none of them can be named.
    """

    cause: DeathCause
    how: str
    step: Underway | None = None
    job_id: int | None = None
    suspects: tuple[int, ...] = ()


def judge(status: int, note: Note | None, *, killed: Killed | None = None, crash_report: str = "") -> Death:
    """The verdict on a role.

    Args:
        status: as ``subprocess.Popen.returncode``: negative for a signal.
        note: what this very process last said, or None if it never did.
        killed: why the supervisor killed it, if it did.
        crash_report: what faulthandler wrote, if anything.
    """
    if killed == "silent":
        # One that never spoke has opened and loaded nothing: the machine did not let it begin.
        return Death(cause="silent" if note is not None else "interrupted", how="silent")
    if killed is None and status == 0:
        return Death(cause="ended", how=_how(status))
    if killed is None and status < 0 and -status not in OWN_DOING:
        return Death(cause="interrupted", how=_how(status))
    thread = _crash_thread(crash_report)
    steps, suspects = _of_one_job(note.steps if note else (), thread)
    blamed = _blamed(steps, thread)
    return Death(
        cause=killed or "crashed",
        how=killed or _how(status),
        step=blamed if blamed and blamed.plugin and blamed.step in PLUGIN_STEPS else None,
        job_id=next((step.job_id for step in steps if step.job_id is not None), None),
        suspects=suspects,
    )


def _of_one_job(steps: Sequence[Underway], thread: int | None) -> tuple[Sequence[Underway], tuple[int, ...]]:
    """The steps that may be blamed, of one job at most; or the jobs among which nothing tells.

    A deadline or a budget tells nothing either: who holds the interpreter makes the others late, and memory is of all.
    """
    jobs = _jobs(steps)
    if len(jobs) < 2:
        return steps, ()
    own = [step for step in steps if step.thread == thread]
    return (own, ()) if len(_jobs(own)) == 1 else ((), jobs)


def _jobs(steps: Sequence[Underway]) -> tuple[int, ...]:
    return tuple(sorted({step.job_id for step in steps if step.job_id is not None}))


def _how(status: int) -> str:
    if status >= 0:
        return f"exit-{status}"
    try:
        return f"signal-{signal.Signals(-status).name}"
    except ValueError:
        return f"signal-{-status}"


def _blamed(steps: Sequence[Underway], thread: int | None) -> Underway | None:
    """The innermost step of the one thread that can have done it, where that is a risky one."""
    innermost = {step.thread: step for step in steps if step.step != "job"}
    risky = [step for step in innermost.values() if step.step in PLUGIN_STEPS or step.step in IMAGE_STEPS]
    if thread in innermost:
        return innermost[thread] if innermost[thread] in risky else None
    return risky[0] if len(risky) == 1 else None


def _crash_thread(report: str) -> int | None:
    """The thread that faulthandler calls current, as ``threading.get_ident`` numbers it."""
    match = re.search(r"^Current thread 0x([0-9a-f]+)", report, re.MULTILINE)
    return int(match[1], 16) if match else None
