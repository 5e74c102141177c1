"""Which engine opens a bundle, what is said of the others, and its golden cases on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    EdgeaiError,
    InferenceFailed,
    PluginFault,
    TensorMismatch,
)
from edgeai.bundle.manifest import ArtifactDecl
from edgeai.model import open_model
from edgeai.plugins import Registry
from edgeai.testing.fakes import FakeSession

Make = Callable[..., Path]


# --- which engine -----------------------------------------------------------------------------


def test_the_next_wish_is_taken_aloud(opened: Any, make_dicom: Make) -> None:
    model = opened(("fake-absent", "fake-raise-open", "fake-works"))
    assert model.engine.backend == "fake-works"
    result = model.run_file(make_dicom())
    assert result.degraded is not None
    assert result.degraded.wished.startswith("fake-absent")
    message = " ".join(result.degraded.because)
    assert "fake-absent" in message
    assert "fake-raise-open" in message


def test_a_device_can_be_wished_for(opened: Any) -> None:
    assert opened(device="FAKE.1").engine.device == "FAKE.1"
    with pytest.raises(BackendUnavailable, match=r"FAKE\.9"):
        opened(device="FAKE.9")


def test_a_backend_that_opens_another_device_is_refused(opened: Any) -> None:
    with pytest.raises(EdgeaiError, match="asked for device 'CPU'"):
        opened(("fake-elsewhere",), device="CPU")


def test_an_excluded_backend_is_not_touched(opened: Any, make_dicom: Make) -> None:
    touched: list[str] = []

    @contextmanager
    def crumb(step: Any) -> Iterator[None]:
        touched.append(str(step))
        yield

    model = opened(
        ("fake-abort-open", "fake-works"),
        excluded={"fake-abort-open": "it killed its role 3 times"},
        breadcrumb=crumb,
    )
    assert model.engine.backend == "fake-works"
    assert "it killed its role 3 times" in " ".join(model.degraded.because)
    assert touched == ["probe", "open"], "one backend only"
    with pytest.raises(BackendError, match="killed its role"):
        opened(("fake-abort-open",), excluded={"fake-abort-open": "it killed its role"})


def test_nothing_to_open_it_says_why_for_each(opened: Any) -> None:
    with pytest.raises(BackendUnavailable) as caught:
        opened(("fake-absent", "nonesuch"))
    assert caught.value.code == "backend.no-candidate"
    assert "this fake has no device" in str(caught.value)
    assert "nonesuch" in str(caught.value)
    with pytest.raises(BackendUnavailable, match="tflite"):
        opened(artifacts=(ArtifactDecl(id="t", format="tflite", precision="fp32", path="model.json"),))


@pytest.mark.parametrize("name", ["acme", "acme-other"])  # the backend of the plugin's own name, and another
def test_a_plugin_that_does_not_load_is_named_not_its_engine(
    fakes: Registry, make_bundle: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    fault = PluginFault("plugin 'acme' (acme 1.0), import: OSError: libacme.so.2 (acme.py, line 3)")
    registry = Registry.of_plugins(fakes.plugins, faults={"acme": fault})
    with pytest.raises(BackendUnavailable) as caught:
        open_model(make_bundle(), backends=(name,), registry=registry, cache_dir=tmp_path / "cache")
    assert "import: OSError: libacme.so.2 (acme.py, line 3)" in str(caught.value)
    assert "not installed" not in str(caught.value)


def test_backends_behind_the_one_that_opens_are_not_probed(opened: Any) -> None:
    probed: list[str] = []

    @contextmanager
    def crumb(step: Any) -> Iterator[None]:
        probed.append(f"{step}")
        yield

    opened(("fake-works", "fake-nan", "fake-zeros"), breadcrumb=crumb)
    assert probed == ["probe", "open"]


def test_breadcrumbs_name_the_step_and_the_plugin(opened: Any, make_dicom: Make) -> None:
    steps: list[tuple[str, str | None]] = []

    @contextmanager
    def crumb(step: Any) -> Iterator[None]:
        steps.append((str(step), step.plugin))
        yield
        steps.append((f"/{step}", step.plugin))

    model = opened(breadcrumb=crumb)
    steps.clear()
    model.run_file(make_dicom())
    assert steps[:2] == [("decode", None), ("/decode", None)]
    assert ("run", "fakes") in steps
    steps.clear()
    model.run_file(make_dicom(frames=3), overlap=False)
    order = [step for step, _ in steps if not step.startswith("/")]
    assert order == ["decode", "run", "interpret"] * 3 + ["decode", "interpret"]
    depth = 0
    for step, _ in steps:
        depth += -1 if step.startswith("/") else 1
        assert depth in (0, 1), "without overlap one crumb lies at a time"


def test_wishing_twice_is_a_mistake(opened: Any) -> None:
    with pytest.raises(ConfigError):
        opened(("fake-works", "fake-works"))


# --- golden cases -----------------------------------------------------------------------------


def test_golden_cases_pass_here(opened: Any) -> None:
    (answer,) = opened().rehearse()
    assert answer.case == "grey"
    assert answer.of_tolerance <= 1
    assert opened(golden=False).rehearse() == ()


def test_golden_cases_that_fail_here(opened: Any) -> None:
    with pytest.raises(InferenceFailed, match="grey") as caught:
        opened(golden_bias=0.1).rehearse()
    assert caught.value.code == "backend.golden-mismatch"
    with pytest.raises(InferenceFailed):
        opened(("fake-zeros",)).rehearse()


@pytest.mark.parametrize("how", ["wrong-shape", "wrong-dtype", "wrong-names", "nan"])
def test_outputs_are_held_to_the_manifest_whatever_the_task_would_do(opened: Any, how: str) -> None:
    with pytest.raises(TensorMismatch):
        opened((f"fake-{how}",)).rehearse()


def test_a_result_names_the_engine_that_the_session_runs_on(
    opened: Any, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One backend may load several engines (edgeai-tflite does): the settings choose, and the result says which."""
    assert opened().run_file(make_dicom()).engine.engine.startswith("fake"), "the backend's usual engine"
    monkeypatch.setattr(FakeSession, "engine", "other-engine 9.9", raising=False)
    assert opened().run_file(make_dicom()).engine.engine == "other-engine 9.9"


# --- a trial: is it to be trusted again? ------------------------------------------------------


@pytest.mark.parametrize("golden", [True, False])
def test_a_sound_engine_proves_itself_with_golden_cases_or_without(opened: Any, golden: bool) -> None:
    opened(golden=golden).prove()


@pytest.mark.parametrize("golden", [True, False])
@pytest.mark.parametrize("how", ["raise", "wrong-shape", "nan", "drop", "raise-base"])
def test_an_engine_that_is_not_proves_nothing(opened: Any, how: str, golden: bool) -> None:
    with pytest.raises(EdgeaiError):
        opened((f"fake-{how}",), golden=golden).prove()


def test_an_engine_that_answers_a_golden_case_wrongly_proves_nothing(opened: Any) -> None:
    with pytest.raises(InferenceFailed, match="grey"):
        opened(("fake-zeros",)).prove()
    opened(("fake-zeros",), golden=False).prove()
