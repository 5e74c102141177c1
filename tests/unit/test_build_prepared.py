"""Samples as the model sees them, and what is true of them in the shape of its output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.api import Array, ConfigError, DataRejected, EvaluationFailed, Frame, Judge, TensorSpec, Truth
from edgeai.bundle.manifest import Eligibility, TaskUse, TransformStep
from edgeai.bundle.uses import GuardUse
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_tasks.classify.judge import Labels
from edgeai_tasks.segment.truth import source_mask
from edgeai_workbench import pictures
from edgeai_workbench.cells import TablePicture
from edgeai_workbench.dataset import Sample
from edgeai_workbench.drawings import chest
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.prepared import Prepared, Sieve, batches, prepare

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
UNIT = TransformStep(transform="normalise", options={"mode": "full_range"})


def _classify(mode: str, labels: list[str]) -> TaskUse:
    return TaskUse(name="classify", options={"mode": mode, "labels": labels})


def _output(*shape: int | None, layout: str = "") -> TensorSpec:
    return TensorSpec(name="out", dtype="float32", shape=(1, *shape), layout=layout)


def _sample(target: Truth | None, number: int = 0, pixels: Array | None = None) -> Sample:
    given = np.full((8, 8), number, np.uint8) if pixels is None else pixels
    name = f"s{number}"
    return Sample(id=name, group=name, frame=lambda: pictures.frame_of(given, name=name), truth=target)


@pytest.fixture(scope="module")
def pipeline() -> Callable[..., Pipeline]:
    transforms = Registry.of(["transforms"]).transforms
    return lambda *steps, input=IMAGE: Pipeline((*steps, UNIT), transforms, input)


def _judge(task: TaskUse, output: TensorSpec) -> Judge:
    return judge_by_plugins(["classify", "segment"], task, (output,))


def _prepared(pipeline: Callable[..., Pipeline], samples: list[Sample], task: TaskUse, output: TensorSpec) -> Prepared:
    return prepare(samples, pipeline(), input=IMAGE, judge=_judge(task, output), targets=True)


@pytest.mark.parametrize(
    ("mode", "labels", "names", "expected"),
    [
        ("multi-class", ["a", "b", "c"], ("b",), [0, 1, 0]),
        ("binary", ["no", "yes"], ("yes",), [1]),
        ("binary", ["no", "yes"], ("no",), [0]),
        ("binary", ["yes"], (), [0]),
        ("multi-label", ["a", "b", "c"], ("a", "c"), [1, 0, 1]),
        ("multi-label", ["a", "b", "c"], (), [0, 0, 0]),
    ],
)
def test_labels_become_what_the_output_should_be(
    pipeline: Callable[..., Pipeline], mode: str, labels: list[str], names: tuple[str, ...], expected: list[int]
) -> None:
    prepared = _prepared(pipeline, [_sample(Labels(names))], _classify(mode, labels), _output(len(expected)))
    assert prepared.targets is not None
    assert prepared.targets["out"].dtype == np.float32
    assert prepared.targets["out"].tolist() == [expected]


@pytest.mark.parametrize(
    ("task", "output"),
    [
        (_classify("multi-class", ["a", "b"]), _output(3)),
        (_classify("binary", ["no", "yes"]), _output(2)),
        (TaskUse(name="segment", options={"labels": ["head"]}), _output(None, None, 1, layout="NHWC")),
        (TaskUse(name="segment", options={"labels": ["a", "b"]}), _output(8, 8, 2, layout="NHWC")),
    ],
)
def test_an_output_that_does_not_fit_the_task_is_refused(
    pipeline: Callable[..., Pipeline], task: TaskUse, output: TensorSpec, tmp_path: Path
) -> None:
    truth = Labels(("a",)) if task.name == "classify" else _mask_file(tmp_path, np.ones((8, 8), bool))
    with pytest.raises(ConfigError) as caught:
        _prepared(pipeline, [_sample(truth)], task, output)
    assert caught.value.code == "build.no-target"


@pytest.mark.parametrize("target", [None, Labels(()), Labels(("a", "b"))])
def test_a_sample_without_exactly_one_class_is_refused(pipeline: Callable[..., Pipeline], target: Truth | None) -> None:
    samples = [_sample(Labels(("a",))), _sample(target, 1)]
    with pytest.raises(DataRejected, match="s1") as caught:
        _prepared(pipeline, samples, _classify("multi-class", ["a", "b"]), _output(2))
    assert caught.value.code == "data.target-missing"


def test_without_targets_there_are_inputs_alone(pipeline: Callable[..., Pipeline]) -> None:
    prepared = _prepared(pipeline, [_sample(None, 51), _sample(None, 255)], _classify("binary", ["yes"]), _output(1))
    assert prepared.targets is None
    np.testing.assert_allclose(prepared.inputs["image"].mean(axis=(1, 2, 3)), [0.2, 1.0], atol=1e-6)
    with pytest.raises(DataRejected):
        batches(prepared)


def _mask_file(folder: Path, mask: Array) -> TablePicture:
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    return TablePicture(folder / "mask.png")


def test_a_mask_goes_where_the_transforms_took_the_image(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    """The image is the mask, letterboxed: wherever it is bright, the target must be 1, and nowhere else."""
    mask = np.zeros((12, 24), bool)
    mask[3:9, 12:21] = True
    steps = pipeline(TransformStep(transform="letterbox", options={"rows": 8, "columns": 8}))
    sample = _sample(_mask_file(tmp_path, mask), pixels=mask.astype(np.uint8) * 255)
    task = TaskUse(name="segment", options={"labels": ["head"]})
    prepared = prepare([sample], steps, input=IMAGE, judge=_judge(task, _output(8, 8, 1, layout="NHWC")), targets=True)
    assert prepared.targets is not None
    np.testing.assert_array_equal(prepared.targets["out"], prepared.inputs["image"] > 0.5)
    assert prepared.targets["out"].sum() == 2 * 3
    (case,) = prepared.cases()
    np.testing.assert_array_equal(source_mask(case), mask)


def test_the_outputs_own_grid_layout_and_background(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    options = {"labels": ["nothing", "head"], "mode": "multi-class", "background": "nothing"}
    task = TaskUse(name="segment", options=options)
    output = _output(2, 4, 4, layout="NCHW")
    prepared = _prepared(pipeline, [_sample(_mask_file(tmp_path, mask))], task, output)
    assert prepared.targets is not None
    head = np.array([[0, 0, 1, 1]] * 4, np.float32)
    np.testing.assert_array_equal(prepared.targets["out"][0], np.stack([1 - head, head]))


def test_a_mask_of_another_extent_is_refused(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    sample = _sample(_mask_file(tmp_path, np.ones((8, 9), bool)))
    task = TaskUse(name="segment", options={"labels": ["head"]})
    with pytest.raises(DataRejected, match="8 x 9") as caught:
        _prepared(pipeline, [sample], task, _output(8, 8, 1, layout="NHWC"))
    assert caught.value.code == "data.mask-extent"


def test_an_image_that_the_transforms_refuse_is_named(pipeline: Callable[..., Pipeline]) -> None:
    sample = _sample(Labels(("yes",)), 4, pixels=np.zeros((9, 8), np.uint8))
    with pytest.raises(DataRejected, match="s4") as caught:
        _prepared(pipeline, [sample], _classify("binary", ["yes"]), _output(1))
    assert caught.value.code == "data.not-transformed"


def test_no_samples_at_all_are_refused(pipeline: Callable[..., Pipeline]) -> None:
    with pytest.raises(DataRejected) as caught:
        _prepared(pipeline, [], _classify("binary", ["yes"]), _output(1))
    assert caught.value.code == "data.empty"


@pytest.fixture
def twelve(pipeline: Callable[..., Pipeline]) -> Prepared:
    samples = [_sample(Labels(("yes",) if number % 3 == 0 else ()), number) for number in range(12)]
    return _prepared(pipeline, samples, _classify("binary", ["yes"]), _output(1))


def _orders(prepared: Prepared, seed: int, epochs: int) -> list[list[int]]:
    epoch = batches(prepared, 5, seed=seed)
    return [
        [round(float(value) * 255) for inputs, _ in epoch() for value in inputs["image"][:, 0, 0, 0]]
        for _ in range(epochs)
    ]


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own(twelve: Prepared) -> None:
    first, second = _orders(twelve, 1, 2)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert _orders(twelve, 1, 2) == [first, second]
    assert _orders(twelve, 2, 1) != [first]


def test_inputs_and_targets_stay_together_and_know_their_number(twelve: Prepared) -> None:
    epoch = batches(twelve, 5, seed=3)()
    assert len(epoch) == 3  # type: ignore[arg-type]
    sizes = []
    for inputs, targets in epoch:
        numbers = (inputs["image"][:, 0, 0, 0] * 255).round().astype(int)
        np.testing.assert_array_equal(targets["out"][:, 0], numbers % 3 == 0)
        sizes.append(len(numbers))
    assert sizes == [5, 5, 2]
    plain = next(iter(batches(twelve, 12, shuffle=False)()))
    np.testing.assert_allclose(plain[0]["image"], twelve.inputs["image"])


def test_balanced_epochs_show_every_sample_and_either_label_equally_often(twelve: Prepared) -> None:
    eleven = twelve.at([place for place in range(12) if place != 9])  # three of them yes, eight no
    epoch = batches(eleven, 5, seed=3, balanced=True)
    shown = []
    for _ in range(3):
        numbers = [round(float(v) * 255) for inputs, _ in epoch() for v in inputs["image"][:, 0, 0, 0]]
        assert len(numbers) == 16
        assert set(numbers) == set(range(12)) - {9}
        assert sum(number % 3 == 0 for number in numbers) == 8
        shown.append(sorted(numbers))
    assert len({tuple(numbers) for numbers in shown}) > 1  # which ones are shown a third time is drawn anew


def _by_size(pipeline: Callable[..., Pipeline], sizes: list[str]) -> Prepared:
    """A sample for each size, of which a column tells; its one pixel value is its number."""
    samples = [replace(_sample(Labels(("yes",)), n), subgroups={"size": size}) for n, size in enumerate(sizes)]
    return _prepared(pipeline, samples, _classify("binary", ["no", "yes"]), _output(1))


def _shown(prepared: Prepared, balanced: bool | str) -> list[int]:
    epoch = batches(prepared, 4, seed=3, balanced=balanced)
    return [round(float(v) * 255) for inputs, _ in epoch() for v in inputs["image"][:, 0, 0, 0]]


def test_balanced_by_a_column_shows_each_of_its_values_equally_often(pipeline: Callable[..., Pipeline]) -> None:
    sizes = ["small", "large", "large", "middle", "large", "large", "middle", "large"]
    shown = _shown(_by_size(pipeline, sizes), "size")
    assert sorted(set(shown)) == list(range(8))
    assert {size: sum(sizes[n] == size for n in shown) for size in sizes} == {"small": 5, "large": 5, "middle": 5}


def test_a_sample_of_which_nobody_knows_the_subgroup_is_shown_once(pipeline: Callable[..., Pipeline]) -> None:
    shown = _shown(_by_size(pipeline, ["large", "", "small", "large", "", "large"]), "size")
    assert sorted(shown) == [0, 1, 2, 2, 2, 3, 4, 5]
    assert sorted(_shown(_by_size(pipeline, ["", "", ""]), "size")) == [0, 1, 2]


def test_balanced_by_a_subgroup_of_the_judge_shows_small_heads_as_often_as_large(tmp_path: Path) -> None:
    frames = [64, 64, 64, 64, 20]  # millimetres around, of squares of 16 and 5 pixels; the last is the only small one
    samples = []
    for n, around in enumerate(frames):
        mask = np.zeros((32, 32), np.uint8)
        mask[4 : 4 + around // 4, 4 : 4 + around // 4] = 255
        Image.fromarray(mask).save(tmp_path / f"{n}.png")
        frame = pictures.frame_of(np.full((32, 32), n, np.uint8), name=f"s{n}", spacing_mm=(1.0, 1.0))
        samples.append(
            Sample(id=f"s{n}", group=f"s{n}", frame=lambda f=frame: f, truth=TablePicture(tmp_path / f"{n}.png"))  # type: ignore[misc]
        )
    task = TaskUse(name="segment", options={"labels": ["head"], "ellipse": True, "sizes": [40]})
    output = _output(32, 32, 1, layout="NHWC")
    source = TensorSpec(name="image", dtype="float32", shape=(1, 32, 32, 1), layout="NHWC")
    transforms = Registry.of(["transforms"]).transforms
    prepared = prepare(
        samples, Pipeline((UNIT,), transforms, source), input=source, judge=_judge(task, output), targets=True
    )
    assert sorted(_shown(prepared, "size")) == [0, 1, 2, 3, 4, 4, 4, 4]
    with pytest.raises(ConfigError, match=r"balanced is 'sise', .*; did you mean \"size\"\?") as refused:
        batches(prepared, balanced="sise")
    assert refused.value.code == "build.balanced"
    assert "the samples have size;" in str(refused.value.remedy)


def test_balanced_by_what_no_sample_has_is_refused(twelve: Prepared) -> None:
    with pytest.raises(ConfigError, match=r"no training sample has such a subgroup$") as refused:
        batches(twelve, balanced="true")
    assert "the samples have none; name a column" in str(refused.value.remedy)


def test_taking_a_few_spreads_them_evenly(twelve: Prepared) -> None:
    few = twelve.take(4)
    assert [sample.id for sample in few.samples] == ["s0", "s4", "s7", "s11"]
    assert few.targets is not None
    assert len(few) == len(few.contexts) == len(few.inputs["image"]) == len(few.targets["out"]) == 4
    assert [round(float(c.frame.pixels.mean()) * 255) for c in few.contexts] == [0, 4, 7, 11]
    assert twelve.take(99) is twelve


def _of_modalities(*modalities: str) -> tuple[list[Sample], list[str]]:
    """Samples, and the log of their files' being read."""
    read: list[str] = []

    def sample(number: int, modality: str) -> Sample:
        def frame() -> Frame:
            read.append(f"s{number}")
            return pictures.frame_of(np.full((8, 8), number, np.uint8), name=f"s{number}", modality=modality)

        return Sample(id=f"s{number}", group=f"s{number}", frame=frame, truth=Labels(("a",)))

    return [sample(number, modality) for number, modality in enumerate(modalities)], read


def test_each_sample_is_read_once_also_where_it_is_asked_whether_it_is_meant(pipeline: Callable[..., Pipeline]) -> None:
    samples, read = _of_modalities("US", "DX", "US", "CT")
    sieve = Sieve(Eligibility(modality=("US", "DX")), Eligibility(modality=("US",)))
    judge = _judge(_classify("multi-class", ["a", "b"]), _output(2))
    prepared = prepare(samples, pipeline(), input=IMAGE, judge=judge, sieve=sieve)
    assert read == ["s0", "s1", "s2", "s3"]
    assert [sample.id for sample in prepared.samples] == ["s0", "s2"]
    assert len(prepared.inputs["image"]) == len(prepared.contexts) == 2
    assert sieve.refused == {
        "modality is DX, the model wants US": 1,
        "modality is CT, the model wants US or DX": 1,
    }


def test_where_none_is_meant_that_is_said_with_why(pipeline: Callable[..., Pipeline]) -> None:
    samples, _ = _of_modalities("US", "US")
    judge = _judge(_classify("multi-class", ["a", "b"]), _output(2))
    with pytest.raises(EvaluationFailed, match="none of 2 samples is eligible: modality is US") as caught:
        prepare(samples, pipeline(), input=IMAGE, judge=judge, sieve=Sieve(Eligibility(modality=("DX",))))
    assert caught.value.code == "evaluate.none-eligible"


@pytest.mark.parametrize(
    ("guard", "looked", "withheld"),
    [
        (GuardUse(), ("", "guard.constant", ""), {"guard.constant": 1}),
        (GuardUse(content=False), (), None),
        (None, (), None),
    ],
)
def test_what_is_withheld_before_the_model_is_counted_and_prepared_all_the_same(
    pipeline: Callable[..., Pipeline], guard: GuardUse | None, looked: tuple[str, ...], withheld: dict[str, int] | None
) -> None:
    drawn = [chest(0, rows=64, columns=64), np.full((64, 64), 51, np.uint8), chest(1, rows=64, columns=64)]
    samples = [_sample(None, number, pixels) for number, pixels in enumerate(drawn)]
    judge, wide = _judge(_classify("binary", ["yes"]), _output(1)), replace(IMAGE, shape=(1, 64, 64, 1))
    prepared = prepare(samples, pipeline(input=wide), input=wide, judge=judge, guard=guard)
    assert (prepared.looked, prepared.withheld, len(prepared)) == (looked, withheld, 3)
    assert prepared.inputs["image"][1].max() > 0
    part = prepared.at([2, 0])
    assert part.withheld == (None if withheld is None else {})
