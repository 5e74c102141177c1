"""Engines that abort, hang and lie, and images that kill: failures have codes, the others go on, all of it aloud."""

from __future__ import annotations

from typing import Any

import pytest

from edgeai.testing.fakes import Misbehaviour

pytestmark = pytest.mark.system

_DEADLY_DECODER = """
import os
from pathlib import Path
from edgeai.model import running
decode = running.read_frames
def deadly(path, *more, **options):
    if b"KILLS-THE-DECODER" in Path(path).read_bytes():
        os.abort()
    return decode(path, *more, **options)
running.read_frames = deadly
"""


def is_failed(result: dict[str, Any], *areas: str) -> bool:
    """Failed, for a reason out of these areas, and without anything that looks like a negative."""
    code = result["reason"]["code"]
    return result["outcome"] == "failed" and result["findings"] == [] and code.startswith(areas)


def problems(cart: Any, code: str) -> list[str]:
    """What ``/health`` says of problems of one kind."""
    return [problem["message"] for problem in cart.health()[1]["problems"] if problem["code"] == code]


@pytest.mark.parametrize(
    ("how", "areas"),
    [
        ("abort", ("job.crashed",)),
        ("hang", ("job.deadline",)),
        ("wrong-shape", ("tensor.mismatch",)),
        pytest.param("nan", ("tensor.not-finite",), marks=pytest.mark.torture),
    ],
)
def test_an_engine_that_misbehaves_fails_its_jobs_aloud_and_the_next_takes_over(
    cart: Any, how: str, areas: tuple[str, ...], until: Any
) -> None:
    deadline_s = 2.5 if how == "hang" else 60  # time enough for those that do not hang
    cart.deploy("bad", backends=[cart.add_backend("bad-engine", how), "fake-works"], deadline_s=deadline_s)
    cart.deploy("good")
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=8)
    until(lambda: len(heard.results("bad")) == len(heard.results("good")) == 8)
    results = list(heard.results("bad").values())
    failed = [result for result in results if result["outcome"] != "completed"]
    assert 1 <= len(failed) <= 3
    assert all(is_failed(result, *areas) for result in failed)
    assert results[: len(failed)] == failed  # and not one after the next engine took over
    for result in results[len(failed) :]:
        assert result["engine"]["backend"] == "fake-works"
        assert result["degraded"]["wished"] == "bad-engine"
        assert "quarantine" in result["degraded"]["because"][0]
        assert result["findings"]
    assert {result["degraded"] for result in heard.results("good").values()} == {None}
    [event] = until(lambda: heard.events("plugin.quarantined"))
    assert (event["facts"]["plugin"], event["facts"]["deployment"]) == ("bad-engine", "bad")
    assert until(lambda: heard.events("deployment.degraded"))
    until(
        lambda: any(
            "bad-engine 1.0 is quarantined on bad" in problem for problem in problems(cart, "plugin.quarantined")
        )
    )
    until(lambda: cart.health()[0] == 200)  # every deployment can run
    until(lambda: heard.on("status")[-1]["state"] == "degraded")
    assert {result["instance"]["sop_instance_uid"] for result in results} == {
        each.instance.sop_instance_uid for each in sent
    }


def test_with_no_engine_left_health_says_so_and_jobs_are_held_until_there_is_one(cart: Any, until: Any) -> None:
    cart.deploy(backends=[cart.add_backend("deadly", "abort")])
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=5)
    [failed] = until(lambda: list(heard.results().values()))
    assert is_failed(failed, "job.crashed")
    until(lambda: any("guard cannot run" in problem for problem in problems(cart, "deployment.held")))
    until(lambda: (now := cart.health())[0] == 503 and now[1]["deployments"][0]["state"] == "held")
    until(lambda: heard.on("status")[-1]["deployments"][0]["state"] == "held")
    [event] = until(lambda: heard.events("deployment.held"))
    assert event["facts"]["code"] == "plugin.quarantined"
    assert len(heard.results()) == 1
    # Repaired and pardoned, it is tried again without a restart of the service, and without a trial.
    (cart.plugins / "deadly.py").write_text((cart.plugins / "deadly.py").read_text().replace("how='abort'", "how=None"))
    cart.kill("infer:guard")
    done = cart.command("status", str(cart.path), "--pardon", "deadly")
    assert "1 quarantine(s) lifted" in done.stderr
    until(lambda: len(heard.results()) == len(sent))
    assert sorted(result["outcome"] for result in heard.results().values()) == ["completed"] * 4 + ["failed"]
    until(lambda: cart.health()[0] == 200)


def test_an_engine_that_leaks_is_ended_by_the_memory_limit_and_loses_nothing(cart: Any, until: Any) -> None:
    """As ``MemoryMax`` or a container does it: the kernel kills the process, again and again."""
    cart.deploy(backends=[cart.add_backend("leaky", "leak")])
    heard = cart.listen()
    cart.start()
    sent = cart.send(count=6)
    for _ in range(4):
        sent += cart.send(count=6)
        until(lambda: cart.kill("infer:guard"))  # what the OOM killer does
    until(lambda: len(heard.results()) == len(sent))
    assert {result["outcome"] for result in heard.results().values()} == {"completed"}
    assert heard.events("plugin.quarantined") == []
    assert until(lambda: heard.events("role.interrupted"))


def test_one_image_that_kills_its_engine_fails_alone_and_the_engine_stays(cart: Any, until: Any) -> None:
    """With the limits of a profile that says nothing about them: three deaths on one image convict the image."""
    cart.deploy(misbehave=Misbehaviour(how="abort", mean_above=0.9))
    heard = cart.listen()
    cart.start()
    before = cart.send(count=3)
    [poison] = cart.send(cart.BRIGHT)
    after = cart.send(count=3)
    failed = cart.result_of(poison)
    assert is_failed(failed, "job.crashed")
    assert "SIGABRT" in failed["reason"]["message"]
    for phantom in before + after:
        assert cart.result_of(phantom)["outcome"] == "completed"
    assert heard.events("plugin.quarantined") == []
    assert len(until(lambda: (faults := heard.events("plugin.fault"))[2:] and faults)) == 3
    # Hours later, another of its kind.
    [second] = cart.send(cart.BRIGHT)
    [last] = cart.send()
    assert is_failed(cart.result_of(second), "job.crashed")
    assert cart.result_of(last)["outcome"] == "completed"
    assert heard.events("plugin.quarantined") == []
    until(lambda: cart.health()[0] == 200)


def test_an_image_that_kills_the_decoder_fails_alone_and_blames_no_plugin(cart: Any, until: Any) -> None:
    cart.deploy(backends=[cart.add_backend("engine", prelude=_DEADLY_DECODER)])
    heard = cart.listen()
    cart.start()
    [poison] = cart.send(attributes={"ImageComments": "KILLS-THE-DECODER"})
    rest = cart.send(count=3)
    assert is_failed(cart.result_of(poison), "job.crashed")
    for phantom in rest:
        assert cart.result_of(phantom)["outcome"] == "completed"
    assert len(until(lambda: (crashes := heard.events("role.crashed"))[2:] and crashes)) == 3
    assert heard.events("plugin.fault") == []
    assert heard.events("plugin.quarantined") == []


@pytest.mark.torture
def test_an_image_that_makes_its_engine_hang_fails_alone(cart: Any) -> None:
    cart.deploy(misbehave=Misbehaviour(how="hang", mean_above=0.9), deadline_s=2.5)
    heard = cart.listen()
    cart.start()
    [poison] = cart.send(cart.BRIGHT)
    rest = cart.send(count=2)
    assert is_failed(cart.result_of(poison), "job.deadline")
    for phantom in rest:
        assert cart.result_of(phantom)["outcome"] == "completed"
    assert heard.events("plugin.quarantined") == []
