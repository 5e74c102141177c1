"""Whose fault was it? The verdict on every kind of death."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from edgeai.roles.deaths import judge
from edgeai.roles.rehearsals import is_its_own
from edgeai.spool import Note, Underway

MAIN, AHEAD = 0x7F01, 0x7F02


def step(name: str, thread: int = MAIN, **facts: Any) -> Underway:
    plugin = {"plugin": "acme", "version": "1.0"} if name in ("load", "probe", "open", "run") else {}
    return Underway(step=name, since=0.0, thread=thread, **{**plugin, **facts})


def note(*steps: Underway) -> Note:
    return Note(role="infer:guard", pid=1, state="ready", beat_at=0.0, steps=steps)


JOB = step("job", job_id=7)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_a_crash_while_running_blames_the_plugin_and_the_job(number: signal.Signals) -> None:
    death = judge(-number, note(JOB, step("run")))
    assert (death.cause, death.how, death.job_id) == ("crashed", f"signal-{number.name}", 7)
    assert death.step is not None
    assert (death.step.step, death.step.plugin, death.step.version) == ("run", "acme", "1.0")


@pytest.mark.parametrize("name", ["load", "probe", "open", "run"])
@pytest.mark.parametrize("killed", [None, "deadline", "memory"])
def test_each_step_of_a_plugin_is_blamed_when_its_process_dies_in_it(name: str, killed: Any) -> None:
    status = -signal.SIGKILL if killed else -signal.SIGSEGV
    death = judge(status, note(step(name)), killed=killed)
    assert death.step is not None
    assert (death.step.step, death.step.plugin) == (name, "acme")
    assert (death.cause, death.how) == ((killed, killed) if killed else ("crashed", "signal-SIGSEGV"))
    assert death.job_id is None


@pytest.mark.parametrize("name", ["finish", "guard", "job", "wait"])
def test_no_other_step_is_blamed_even_if_a_plugin_stands_beside_it(name: str) -> None:
    assert judge(-signal.SIGSEGV, note(step(name, plugin="acme", version="1.0"))).step is None


def test_of_steps_on_one_thread_the_innermost_is_blamed() -> None:
    death = judge(-signal.SIGABRT, note(JOB, step("load"), step("run", plugin="other")))
    assert death.step is not None
    assert (death.step.step, death.step.plugin) == ("run", "other")
    nested = note(step("open", AHEAD), step("run", MAIN), step("probe", AHEAD, plugin="other"))
    report = f"Current thread 0x{AHEAD:016x} (most recent call first):"
    death = judge(-signal.SIGABRT, nested, crash_report=report)
    assert death.step is not None
    assert (death.step.step, death.step.plugin) == ("probe", "other")


def test_a_crash_of_a_thread_that_was_at_no_step_decides_nothing() -> None:
    report = "Fatal Python error: Aborted\n\nCurrent thread 0x0000000000000123 (most recent call first):"
    assert judge(-signal.SIGABRT, note(JOB, step("run")), crash_report=report).step is not None
    two = note(JOB, step("run"), step("decode", AHEAD))
    assert judge(-signal.SIGABRT, two, crash_report=report).step is None


def test_a_plugins_step_without_a_plugins_name_blames_nobody() -> None:
    assert judge(-signal.SIGSEGV, note(step("run", plugin=""))).step is None


@pytest.mark.parametrize(
    ("status", "killed", "cause", "how"),
    [
        (0, None, "ended", "exit-0"),
        (0, "deadline", "deadline", "deadline"),
        (1, None, "crashed", "exit-1"),
        (-9, "memory", "memory", "memory"),
        (-15, None, "interrupted", "signal-SIGTERM"),
        (-6, None, "crashed", "signal-SIGABRT"),
        (-5, None, "crashed", "signal-SIGTRAP"),
        (-31, None, "crashed", "signal-SIGSYS"),
        (-63, None, "interrupted", "signal-63"),
    ],
)
def test_how_it_ended_is_told_in_two_words(status: int, killed: Any, cause: str, how: str) -> None:
    for known in (None, note()):
        death = judge(status, known, killed=killed)
        assert (death.cause, death.how, death.step, death.job_id) == (cause, how, None, None)


def job(number: int, name: str, thread: int) -> tuple[Underway, Underway]:
    """A job under way on a thread, and at what."""
    return step("job", thread, job_id=number), step(name, thread, job_id=number)


def report_of(thread: int) -> str:
    return f"Fatal Python error: Aborted\n\nCurrent thread 0x{thread:016x} (most recent"


TWO = (*job(7, "run", MAIN), *job(9, "decode", AHEAD))


@pytest.mark.parametrize("killed", [None, "deadline", "memory"])
def test_of_two_jobs_under_way_neither_is_blamed_without_evidence(killed: Any) -> None:
    status = -signal.SIGKILL if killed else -signal.SIGSEGV
    for steps in (TWO, (*TWO, *job(11, "decode", 0x7F03)), (step("run"), JOB, step("job", job_id=9))):
        death = judge(status, note(*steps), killed=killed)
        assert (death.cause, death.step, death.job_id) == (killed or "crashed", None, None)
        assert death.suspects == tuple(sorted({item.job_id for item in steps if item.job_id}))


@pytest.mark.parametrize(("thread", "guilty", "blames_plugin"), [(MAIN, 7, True), (AHEAD, 9, False)])
def test_of_two_jobs_the_one_on_the_thread_that_crashed_is_blamed(
    thread: int, guilty: int, blames_plugin: bool
) -> None:
    death = judge(-signal.SIGABRT, note(*TWO), crash_report=report_of(thread))
    assert (death.job_id, death.step is not None, death.suspects) == (guilty, blames_plugin, ())


def test_an_engine_that_dies_with_several_jobs_in_its_hands_is_not_convicted_for_one_of_them() -> None:
    """Its stream has both; which of them it was at, and whether one of them killed it, nothing tells."""
    stream = (step("run"), step("job", job_id=7), step("job", job_id=9))
    death = judge(-signal.SIGABRT, note(*stream), crash_report=report_of(MAIN))
    assert (death.step, death.job_id, death.suspects) == (None, None, (7, 9))
    alone = judge(-signal.SIGABRT, note(*stream[:2], *job(9, "decode", AHEAD)), crash_report=report_of(MAIN))
    assert alone.step is not None
    assert (alone.step.step, alone.job_id) == ("run", 7)


def test_a_death_while_a_result_is_written_is_not_the_engines_whose_stream_goes_on() -> None:
    writing = note(step("run"), step("finish", job_id=7))
    for report in ("", report_of(MAIN)):
        death = judge(-signal.SIGABRT, writing, crash_report=report)
        assert (death.step, death.job_id) == (None, 7)


def test_a_thread_that_was_at_no_job_decides_nothing_between_two() -> None:
    death = judge(-signal.SIGABRT, note(*TWO), crash_report=report_of(0x123))
    assert (death.step, death.job_id, death.suspects) == (None, None, (7, 9))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_death_from_outside_blames_nobody(number: signal.Signals) -> None:
    death = judge(-number, note(JOB, step("run")))
    assert (death.cause, death.step, death.job_id) == ("interrupted", None, None)


def test_an_exit_in_the_middle_of_a_step_is_a_crash_and_a_clean_one_is_not() -> None:
    crashed = judge(3, note(step("open")))
    assert (crashed.cause, crashed.how) == ("crashed", "exit-3")
    assert crashed.step is not None
    assert judge(0, note()).cause == "ended"
    assert judge(70, None).step is None


def test_a_deadline_blames_and_silence_does_not() -> None:
    overdue = judge(-signal.SIGKILL, note(JOB, step("run")), killed="deadline")
    assert (overdue.cause, overdue.how, overdue.job_id) == ("deadline", "deadline", 7)
    assert overdue.step is not None
    silent = judge(-signal.SIGKILL, note(), killed="silent")
    assert (silent.cause, silent.how, silent.step, silent.job_id) == ("silent", "silent", None, None)


def test_a_process_that_never_said_a_word_was_not_let_begin() -> None:
    """It has opened no bundle and loaded no plugin: the machine had no time for it."""
    starved = judge(-signal.SIGKILL, None, killed="silent")
    assert (starved.cause, starved.how, starved.step, starved.job_id) == ("interrupted", "silent", None, None)
    assert not is_its_own(starved)
    assert is_its_own(judge(-signal.SIGKILL, note(), killed="silent"))


def test_a_death_while_decoding_is_the_images_doing() -> None:
    death = judge(-signal.SIGSEGV, note(JOB, step("decode")))
    assert (death.step, death.job_id) == (None, 7)


@pytest.mark.parametrize("killed", [None, "deadline"])
def test_a_death_while_the_outputs_are_interpreted_is_not_the_engines(killed: Any) -> None:
    """With many frames at a time the engine's step goes on around it."""
    status = -signal.SIGKILL if killed else -signal.SIGSEGV
    for steps in ([JOB, step("interpret")], [JOB, step("run"), step("interpret")]):
        death = judge(status, note(*steps), killed=killed)
        assert (death.step, death.job_id) == (None, 7)
    report = f"Fatal Python error: Aborted\n\nCurrent thread 0x{MAIN:016x} (most recent"
    death = judge(
        status, note(JOB, step("run"), step("decode", AHEAD), step("interpret")), killed=killed, crash_report=report
    )
    assert (death.step, death.job_id) == (None, 7)


def test_two_threads_at_work_and_no_evidence_blames_the_job_alone() -> None:
    death = judge(-signal.SIGSEGV, note(JOB, step("run"), step("decode", AHEAD)))
    assert (death.step, death.job_id) == (None, 7)


@pytest.mark.parametrize(("thread", "blames_plugin"), [(MAIN, True), (AHEAD, False)])
def test_two_threads_at_work_and_a_crash_report_decides(thread: int, blames_plugin: bool) -> None:
    report = f"Fatal Python error: Aborted\n\nThread 0x{AHEAD:016x}:\n\nCurrent thread 0x{thread:016x} (most recent"
    death = judge(-signal.SIGABRT, note(JOB, step("run"), step("decode", AHEAD)), crash_report=report)
    assert (death.step is not None) is blames_plugin
    assert death.job_id == 7


def test_a_death_of_ones_own_doing_between_steps_blames_no_plugin() -> None:
    death = judge(-signal.SIGSEGV, note(step("finish", job_id=7)))
    assert (death.step, death.job_id) == (None, 7)
