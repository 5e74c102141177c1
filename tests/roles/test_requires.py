"""A deployment that requires another's finding, as real processes: each image ends once, whoever dies or is away."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from typing import Any

import pytest

from edgeai.config import load_config
from edgeai.health import read_health
from edgeai.metrics import metrics_text
from edgeai.spool.ledger import read_ledger

DULL, BRIGHT = 60, 250
LUNG = """
[[deployments]]
name = "lung"
bundle = "guard.edgeai"
backends = ["fake-works"]
requires = {{ guard = "class:dull >= 0.6" }}
requires_within_s = {within_s}
"""


def configure(cart: Any, within_s: float = 3600.0) -> None:
    cart.configure(more=LUNG.format(within_s=within_s))


def sent(cart: Any, level: int) -> Any:
    return cart.admit(level, deployments=("guard", "lung"))


def of(cart: Any, phantom: Any, deployment: str, until: Any, attempt: int = 1) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        uid = phantom.instance.sop_instance_uid
        mine = [
            item
            for item in cart.results()
            if (item["instance"]["sop_instance_uid"], item["deployment"], item["attempt"]) == (uid, deployment, attempt)
        ]
        return mine[0] if mine else None

    result: dict[str, Any] = until(find)
    return result


def awaiting(cart: Any) -> int:
    return sum(entry.awaiting for entry in read_ledger(cart.spool.db).jobs if entry.deployment == "lung")


def test_what_the_other_says_decides_and_stands_in_the_result(cart: Any, until: Any) -> None:
    configure(cart)
    cart.start()
    bright, dull = sent(cart, BRIGHT), sent(cart, DULL)
    broken = cart.admit(BRIGHT, deployments=("guard", "lung"), attributes={"PixelData": b"\0\0"})
    ran = of(cart, bright, "lung", until)
    assert ran["outcome"] == "completed"
    [figure] = ran["guard"]
    assert (figure["check"], figure["name"]) == ("requires", "guard class:dull")
    assert not figure["withheld"]
    assert figure["value"] >= figure["threshold"] == 0.6
    kept = of(cart, dull, "lung", until)
    assert (kept["outcome"], kept["reason"]["code"], kept["engine"]) == ("not-applicable", "requires.not-met", None)
    assert kept["guard"][0]["withheld"]
    assert "guard denies it" in kept["reason"]["message"]
    failed = of(cart, broken, "lung", until)
    assert (failed["outcome"], failed["reason"]["code"]) == ("failed", "requires.failed")
    config = load_config(cart.profile)
    lung = until(
        lambda: next((each for each in read_health(cart.spool, config).deployments if each.lately.unasked == 2), None)
    )
    assert lung.requires == ("class:dull >= 0.6 of guard",)
    page = cart.command("status", str(cart.profile))
    assert "lung: requires class:dull >= 0.6 of guard; not said of 2 of the last 3" in page
    text = metrics_text(cart.spool, config)
    assert 'edgeai_jobs_awaiting{deployment="lung"} 0.0' in text
    assert f'edgeai_unasked_ratio{{deployment="lung"}} {2 / 3}' in text
    assert "2 can be done again" in cart.command("rerun", str(cart.profile), "--dry-run")
    assert cart.stop() == 0


def test_each_image_ends_once_though_both_processes_are_killed(cart: Any, until: Any) -> None:
    configure(cart)
    whole = cart.folder / "guard.edgeai"
    shutil.copy(whole, cart.folder / "lung.edgeai")
    cart.profile.write_text(cart.profile.read_text().replace('bundle = "guard.edgeai"', 'bundle = "lung.edgeai"'))
    cart.profile.write_text(cart.profile.read_text().replace('bundle = "lung.edgeai"', 'bundle = "guard.edgeai"', 1))
    whole.rename(cart.folder / "away")  # so that the other cannot run yet
    cart.start()
    phantoms = [sent(cart, level) for level in (DULL, BRIGHT) * 12]
    until(lambda: awaiting(cart) == len(phantoms))
    os.kill(cart.pid("infer:lung"), signal.SIGKILL)
    (cart.folder / "away").rename(whole)
    for count in (3, 9):
        until(lambda count=count: len(cart.results()) >= count)
        for role in ("infer:guard", "infer:lung"):
            os.kill(cart.pid(role), signal.SIGKILL)
    until(lambda: len(cart.results()) >= 2 * len(phantoms))
    until(lambda: all(each.missing == each.waiting == 0 for each in read_ledger(cart.spool.db).jobs))
    ends = Counter((item["deployment"], item["instance"]["sop_instance_uid"]) for item in cart.results())
    assert set(ends.values()) == {1}
    assert len(ends) == 2 * len(phantoms)
    for phantom, level in zip(phantoms, (DULL, BRIGHT) * 12, strict=True):
        outcome = "completed" if level == BRIGHT else "not-applicable"
        assert of(cart, phantom, "lung", until)["outcome"] == outcome
    assert list(cart.spool.instances.iterdir()) == [] or until(lambda: not list(cart.spool.instances.iterdir()))


def test_an_answer_that_does_not_come_fails_the_image_and_it_is_done_again_with_it(cart: Any, until: Any) -> None:
    configure(cart, within_s=0.5)
    whole = (cart.folder / "guard.edgeai").read_bytes()
    shutil.copy(cart.folder / "guard.edgeai", cart.folder / "lung.edgeai")
    first, lung = cart.profile.read_text().split('name = "lung"')
    cart.profile.write_text(f'{first}name = "lung"{lung.replace("guard.edgeai", "lung.edgeai")}')
    (cart.folder / "guard.edgeai").write_bytes(b"no bundle")
    cart.start()
    phantom = sent(cart, BRIGHT)
    late = of(cart, phantom, "lung", until)
    assert (late["outcome"], late["reason"]["code"]) == ("failed", "requires.no-answer")
    assert "within 0.5 s" in late["reason"]["message"]
    [event] = until(lambda: cart.events("deployment.unanswered"))
    assert event["facts"]["deployment"] == "lung"
    (cart.folder / "guard.edgeai").write_bytes(whole)
    assert of(cart, phantom, "guard", until)["outcome"] == "completed"  # it was held, and has its own end
    assert "1 ended well" in cart.command("rerun", str(cart.profile), "--deployment", "lung")
    assert of(cart, phantom, "lung", until, attempt=2)["outcome"] == "completed"


@pytest.mark.torture
@pytest.mark.parametrize("gone", ["the rule", "the other"])
def test_what_waits_runs_once_the_profile_asks_for_nothing_any_more(cart: Any, until: Any, gone: str) -> None:
    configure(cart)
    shutil.copy(cart.folder / "guard.edgeai", cart.folder / "lung.edgeai")
    first, lung = cart.profile.read_text().split('name = "lung"')
    lung = lung.replace("guard.edgeai", "lung.edgeai")
    cart.profile.write_text(f'{first}name = "lung"{lung}')
    (cart.folder / "guard.edgeai").unlink()
    cart.start()
    phantom = sent(cart, DULL)
    until(lambda: awaiting(cart) == 1)
    cart.stop()
    rule = next(line for line in lung.splitlines() if line.startswith("requires ="))
    plain = f'{first}name = "lung"{lung}'.replace(rule, "")
    if gone == "the other":
        plain = plain.replace('[[deployments]]\nname = "guard"', '[[deployments]]\nname = "other"')
    cart.profile.write_text(plain)
    cart.start()
    assert of(cart, phantom, "lung", until)["outcome"] == "completed"
