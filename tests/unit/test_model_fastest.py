"""``fastest``: what is tried, what is left out and why, what is kept, and who is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import BackendUnavailable, BundleRejected, ConfigError
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.model import open_model
from edgeai.model.fastest import Trial, Trials, thread_counts, try_all
from edgeai.plugins import Registry
from edgeai.testing.distributions import write_fakes

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _fakes_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fakes(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def _bundle(path: Path, tmp_path: Path) -> Bundle:
    return open_bundle(path, cache_dir=tmp_path / "cache")


def _fake(name: str) -> tuple[str, str]:
    return (name, "fakes")


def test_every_device_and_number_of_threads_is_tried(make_bundle: Make, tmp_path: Path) -> None:
    trials = try_all(_bundle(make_bundle(), tmp_path), [_fake("fake-works")], threads=1)
    assert {(trial.device, trial.threads) for trial in trials.admissible} == {("CPU", 1), ("FAKE.1", 1)}
    for trial in trials.admissible:
        assert 0 < trial.median_ms < trial.cold_ms
        assert trial.throughput > 0
        assert trial.engine


def test_one_that_kills_its_process_is_left_out_and_named(make_bundle: Make, tmp_path: Path) -> None:
    trials = try_all(_bundle(make_bundle(), tmp_path), [_fake("fake-abort-open"), _fake("fake-works")], threads=1)
    (dead,) = (trial for trial in trials.trials if trial.why_not)
    assert dead.backend == "fake-abort-open"
    assert dead.device == "CPU"
    assert "signal 6" in dead.why_not
    assert {trial.backend for trial in trials.admissible} == {"fake-works"}


def test_one_that_answers_otherwise_is_left_out(make_bundle: Make, tmp_path: Path) -> None:
    trials = try_all(_bundle(make_bundle(golden_bias=0.5), tmp_path), [_fake("fake-works")], threads=1)
    assert not trials.admissible
    assert all("backend.golden-mismatch" in trial.why_not for trial in trials.trials)
    with pytest.raises(BackendUnavailable, match="golden-mismatch"):
        trials.best()


def test_one_that_is_not_installed_says_so(make_bundle: Make, tmp_path: Path) -> None:
    trials = try_all(_bundle(make_bundle(), tmp_path), [("nothing", "nothing")])
    assert [(trial.backend, "plugin.not-found" in trial.why_not) for trial in trials.trials] == [("nothing", True)]


def test_without_golden_cases_nothing_can_be_measured(make_bundle: Make, tmp_path: Path) -> None:
    trials = try_all(_bundle(make_bundle(golden=False), tmp_path), [_fake("fake-works")], threads=1)
    assert all("bundle.invalid-golden" in trial.why_not for trial in trials.trials)


def test_what_was_measured_is_kept_until_something_changes(
    make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, keep = _bundle(make_bundle(), tmp_path), tmp_path / "deep" / "trials.json"

    def kept(**changes: Any) -> bool:
        given = {"bundle": bundle, "backends": [_fake("fake-works")], "threads": 1, "keep": keep, **changes}
        return try_all(**given).kept

    assert not kept()
    assert kept()
    assert not kept(again=True)
    assert not kept(threads=2)
    assert not kept()
    assert not kept(bundle=replace(bundle, digest="sha256:" + "1" * 64))
    assert not kept()
    monkeypatch.setattr("edgeai.model.fastest.hardware", lambda: {"machine": "another"})
    assert not kept()
    keep.write_text("{")
    assert not kept()
    assert kept()


def test_the_fewest_threads_of_the_fastest_come_first() -> None:
    slow, fast, faster = (
        Trial(backend="b", device="CPU", artifact="a", threads=threads, median_ms=ms)
        for threads, ms in ((1, 3.0), (2, 2.0), (4, 1.0))
    )
    other = Trial(backend="c", device="CPU", artifact="a", threads=1, median_ms=1.5)
    wrong = Trial(backend="d", device="CPU", artifact="a", median_ms=0.1, why_not="it disagrees")
    best = Trials(key="", trials=(slow, fast, wrong, other, faster)).best()
    assert [(trial.backend, trial.threads) for trial in best] == [("b", 4), ("c", 1)]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_thread_counts(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


def _open(bundle: Path, fakes: Registry, tmp_path: Path, *backends: str, **more: Any) -> Any:
    only = more.pop("only")
    few = Registry.of_plugins(
        [replace(fakes.plugins[0], backends=tuple(s for s in fakes.plugins[0].backends if s.name in only))]
    )
    return open_model(bundle, backends=backends, registry=few, cache_dir=tmp_path / "cache", threads=1, **more)


def test_the_fastest_is_opened_and_the_others_stand_behind_it(
    make_bundle: Make, fakes: Registry, tmp_path: Path
) -> None:
    keep = tmp_path / "trials.json"
    only = ("fake-works", "fake-abort-open")
    with _open(make_bundle(), fakes, tmp_path, "fastest", only=only, trials=keep) as model:
        order = sorted(
            (t for t in json.loads(keep.read_text())["trials"] if not t["why_not"]), key=lambda t: t["median_ms"]
        )
        assert (model.engine.backend, model.engine.device) == ("fake-works", order[0]["device"])
        assert model.degraded is None


def test_a_backend_in_quarantine_is_not_touched_and_passed_over_aloud(
    make_bundle: Make, fakes: Registry, tmp_path: Path
) -> None:
    steps: list[str] = []

    @contextmanager
    def crumb(step: Any) -> Any:
        steps.append(str(step))
        yield

    only = ("fake-works", "fake-abort-open")
    excluded = {"fake-abort-open": "it died three times"}
    with _open(make_bundle(), fakes, tmp_path, "fastest", only=only, excluded=excluded, breadcrumb=crumb) as model:
        assert model.engine.backend == "fake-works"
        assert model.degraded is not None
        assert "it died three times" in " ".join(model.degraded.because)
    assert "measure" in steps


def test_fastest_stands_alone(make_bundle: Make, fakes: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _open(make_bundle(), fakes, tmp_path, "fastest", "fake-works", only=("fake-works",))
    assert caught.value.code == "config.fastest-alone"


def test_nothing_that_agrees_is_no_model(make_bundle: Make, fakes: Registry, tmp_path: Path) -> None:
    with pytest.raises((BackendUnavailable, BundleRejected), match="golden-mismatch"):
        _open(make_bundle(golden_bias=0.5), fakes, tmp_path, "fastest", only=("fake-works",))
