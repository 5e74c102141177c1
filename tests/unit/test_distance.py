"""Distance: what a model saw in an image, held to what it saw in training, on every way that an image can take."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import Array, BundleRejected, Outcome, Result
from edgeai.bundle.honour import not_honoured
from edgeai.bundle.manifest import Manifest, TensorDecl
from edgeai.bundle.uses import DistanceUse, GuardUse
from edgeai.cli.statement import statement
from edgeai.model.abreast import run_files
from edgeai.model.distance import MAX_BYTES, Fit, fit_arrays, read_fit
from edgeai.testing.gallery import frame as gallery_frame
from edgeai.testing.phantoms import write_instance

SCORES = TensorDecl(name="scores", dtype="float32", shape=(1, 2))
FEATURES = TensorDecl(name="features", dtype="float32", shape=(1, 2))
USE = DistanceUse(output="features", method="mahalanobis", parameters="distance.npz", threshold=1.0, true_accept=0.98)
GUARD = {"schema": 2, "outputs": (SCORES, FEATURES), "guard": GuardUse(content=False, distance=USE)}


def packed(arrays: dict[str, Array]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def fit(**changes: Any) -> Fit:
    """Of features that are a softmax: they vary along one direction alone. A picture and its negative differ."""
    half = np.sqrt(0.5)
    values = {"centre": [0.5, 0.5], "axes": [[half], [-half]], "spread": [0.1, 0.01], "bound": 1.0, **changes}
    return Fit(**{name: value if name == "bound" else np.asarray(value) for name, value in values.items()})


def arrays(**changes: Array) -> dict[str, Array]:
    return fit_arrays("fake-fp32", fit()) | {f"fake-fp32/{name}": value for name, value in changes.items()}


def picture(mean: float) -> Array:
    """Texture around a mean, of 1."""
    pixels = gallery_frame(64, 80).pixels.astype(float)
    return np.asarray(255 * mean + (pixels - pixels.mean()) / 4).astype(np.uint8)


NEAR, FAR = picture(0.5), picture(0.8)


@pytest.fixture
def model(opened: Any) -> Any:
    """Far from what it learnt from is what is bright."""
    return opened(files={"distance.npz": packed(arrays())}, **GUARD)


def held(model: Any, path: Path, pixels: Array, **more: Any) -> Result:
    return model.run_file(  # type: ignore[no-any-return]
        write_instance(path / "image.dcm", pixels, modality="CR", frames=pixels.ndim == 3).path, **more
    )


def test_mahalanobis_distance_is_that_of_the_covariance_that_the_parts_say() -> None:
    random = np.random.default_rng(3)
    axes = np.linalg.qr(random.normal(size=(6, 6)))[0][:, :2]
    spread = np.array([2.0, 1.0, 0.5])
    covariance = axes @ np.diag(spread[:-1] ** 2) @ axes.T + spread[-1] ** 2 * (np.eye(6) - axes @ axes.T)
    centre, features = random.normal(size=6), random.normal(size=(5, 6)).astype(np.float32)
    away = features - centre
    wanted = np.sqrt(np.einsum("nd,de,ne->n", away, np.linalg.inv(covariance), away)) / 4.0
    got = Fit(centre=centre, axes=axes, spread=spread, bound=4.0).distance(features)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_an_image_near_what_was_learnt_is_judged_and_has_the_figure(model: Any, tmp_path: Path) -> None:
    result = held(model, tmp_path, NEAR)
    assert result.outcome is Outcome.COMPLETED
    [figure] = result.guard
    assert (figure.check, figure.name, figure.threshold) == ("distance", "from what was learnt", 1.0)
    assert 0 < figure.value < 1
    assert not figure.withheld


def test_one_that_is_far_gets_no_statement_though_an_engine_ran(model: Any, tmp_path: Path) -> None:
    result = held(model, tmp_path, FAR)
    assert result.outcome is Outcome.NOT_APPLICABLE
    assert result.reason is not None
    assert result.reason.code == "guard.distance"
    assert "times as far as it may be" in result.reason.message
    assert (result.engine, result.frames_run, result.findings) == (model.engine, 1, ())
    assert "run" in result.timings_ms
    assert "interpret" not in result.timings_ms
    assert statement(result).headline == "The model does not speak of this image", "it was asked"
    [figure] = result.guard
    assert figure.withheld
    assert figure.value > 1


def test_figures_of_the_content_stand_before_it(opened: Any, tmp_path: Path) -> None:
    guard = GuardUse(distance=USE)
    model = opened(files={"distance.npz": packed(arrays())}, **{**GUARD, "guard": guard})
    for pixels in (NEAR, FAR):
        checks = [figure.check for figure in held(model, tmp_path, pixels).guard]
        assert len(checks) > 2
        assert (set(checks[:-1]), checks[-1]) == ({"content"}, "distance")
    assert held(model, tmp_path, np.zeros((64, 80), np.uint8)).frames_run == 0


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_of_a_cine_that_are_far_are_left_out_and_named(model: Any, tmp_path: Path, overlap: bool) -> None:
    frames = np.stack([NEAR, FAR, NEAR, NEAR, FAR])
    result = held(model, tmp_path, frames, overlap=overlap)
    assert result.outcome is Outcome.COMPLETED
    assert (result.frames_run, result.frames_total) == (5, 5)
    told = {note.code: note.text for note in result.notes}
    assert "2 frames not judged" in told["guard.frames-withheld"]
    assert ": 2, 5 (guard.distance)" in told["guard.frames-withheld"]
    assert "input.frames-sampled" not in told, "each was run"
    assert {finding.frame_number for finding in result.findings} <= {None, 1, 3, 4}


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cine_of_which_most_is_far_gets_no_statement_though_some_frames_pass(
    model: Any, tmp_path: Path, overlap: bool
) -> None:
    """What passes one in a hundred images of another organ by mistake would else speak for each cine of it."""
    result = held(model, tmp_path, np.stack([NEAR, FAR, NEAR, FAR, FAR]), overlap=overlap)
    assert (result.outcome, result.frames_run, result.findings) == (Outcome.NOT_APPLICABLE, 5, ())
    assert result.reason is not None
    assert result.reason.code == "guard.distance"
    assert "3 of 5 frames show what the model is not for; of the first, the image is unlike" in result.reason.message
    assert [figure.withheld for figure in result.guard] == [True]
    half = held(model, tmp_path, np.stack([NEAR, FAR]), overlap=overlap)
    assert half.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_without_content_do_not_outvote_others(opened: Any, tmp_path: Path, overlap: bool) -> None:
    guard = GuardUse(distance=USE)
    model = opened(files={"distance.npz": packed(arrays())}, **{**GUARD, "guard": guard})
    black = np.zeros((64, 80), np.uint8)
    cine = held(model, tmp_path, np.stack([black, black, NEAR, black]), overlap=overlap)
    assert cine.outcome is Outcome.COMPLETED
    cine = held(model, tmp_path, np.stack([black, NEAR, FAR, FAR]), overlap=overlap)
    assert cine.reason is not None
    assert (cine.outcome, cine.reason.code) == (Outcome.NOT_APPLICABLE, "guard.distance")
    assert "2 of 3 frames" in cine.reason.message
    assert cine.guard[-1].check == "distance", "figures of the frame that decided"


@pytest.mark.parametrize("overlap", [True, False])
def test_a_cine_that_is_far_altogether_gets_no_statement(model: Any, tmp_path: Path, overlap: bool) -> None:
    result = held(model, tmp_path, np.stack([FAR] * 4), overlap=overlap)
    assert (result.outcome, result.frames_run) == (Outcome.NOT_APPLICABLE, 4)
    assert result.reason is not None
    assert result.reason.code == "guard.distance"
    assert "none of 4 frames may be judged" in result.reason.message


def test_images_along_with_others_end_as_they_would_alone(model: Any, tmp_path: Path) -> None:
    paths = [
        write_instance(tmp_path / f"{number}.dcm", pixels, modality="CR").path
        for number, pixels in enumerate([NEAR, FAR, FAR, NEAR, FAR, NEAR])
    ]
    together = [result for _, result in run_files(model, paths)]
    alone = [model.run_file(path) for path in paths]
    assert [one.outcome for one in together] == [one.outcome for one in alone]
    assert [one.guard for one in together] == [one.guard for one in alone]
    assert [one.outcome is Outcome.COMPLETED for one in alone] == [True, False, False, True, False, True]


def test_the_task_sees_its_own_outputs_alone(model: Any, tmp_path: Path) -> None:
    seen: list[set[str]] = []
    interpret = model.task.interpret
    model.task.interpret = lambda outputs, context: seen.append(set(outputs)) or interpret(outputs, context)
    assert held(model, tmp_path, NEAR).outcome is Outcome.COMPLETED
    assert seen == [{"scores"}]


# --- its file -------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[], dict[str, Array]]] = {
    "of another artifact": lambda: fit_arrays("other-fp32", fit()),
    "without a part": lambda: {name: array for name, array in arrays().items() if not name.endswith("spread")},
    "of double numbers": lambda: arrays(centre=np.zeros(2)),
    "of objects": lambda: arrays(centre=np.array([None, None])),
    "not finite": lambda: arrays(centre=np.array([0, np.nan], np.float32)),
    "of other widths": lambda: arrays(axes=np.zeros((3, 1), np.float16)),
    "a spread that is missing": lambda: arrays(spread=np.ones(1, np.float32)),
    "no spread at all": lambda: arrays(spread=np.ones(0, np.float32)),
    "a spread of 0": lambda: arrays(spread=np.zeros(2, np.float32)),
    "a bound of 0": lambda: arrays(bound=np.zeros(1, np.float32)),
    "two bounds": lambda: arrays(bound=np.ones(2, np.float32)),
    "a number": lambda: arrays(centre=np.float32(1)),
    "too large": lambda: arrays(more=np.zeros(MAX_BYTES, np.uint8)),
    "of another width than the output": lambda: fit_arrays("fake-fp32", fit(centre=[0, 0, 0], axes=[[1], [0], [0]])),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_does_not_fit_is_refused_when_the_model_is_opened(opened: Any, what: str) -> None:
    with pytest.raises(BundleRejected) as caught:
        opened(files={"distance.npz": packed(WRONG[what]())}, **GUARD)
    assert caught.value.code == "bundle.invalid-guard"


def damaged(whole: bytes) -> Iterator[bytes]:
    random = np.random.default_rng(11)
    yield from (b"", b"PK", b"no archive", whole[: len(whole) // 2], whole[1:], whole + whole)
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(data), random.integers(1, 9)):
            data[place] = random.integers(0, 256)
        yield bytes(data)


def test_foreign_bytes_end_as_a_fit_or_in_its_code(tmp_path: Path) -> None:
    file = tmp_path / "distance.npz"
    refused = []
    for data in damaged(packed(arrays())):
        file.write_bytes(data)
        try:
            assert np.isfinite(read_fit(file, "fake-fp32").distance(np.zeros((1, 2), np.float32))).all()
        except BundleRejected as error:
            refused.append(error.code)
    assert len(refused) > 100
    assert set(refused) == {"bundle.invalid-guard"}


def test_a_method_that_is_not_known_is_not_honoured(tiny: Manifest) -> None:
    manifest = msgspec.structs.replace(tiny, **GUARD)
    assert not_honoured(manifest) == ()
    other = GuardUse(distance=msgspec.structs.replace(USE, method="psychic"))
    assert not_honoured(msgspec.structs.replace(manifest, guard=other)) == ("guard (distance by psychic)",)
