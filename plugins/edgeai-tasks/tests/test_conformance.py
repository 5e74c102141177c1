"""Each task against the kit's rules, in each of its modes."""

from __future__ import annotations

import numpy as np

from edgeai.api import Array, FrameContext, TensorSpec
from edgeai.testing.conformance import JudgeConformance, TaskConformance
from edgeai.testing.conformance.places import seen
from edgeai.testing.examples import example_frame, instance_ref


def _output(size: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec(name="scores", dtype="float32", shape=(None, size), layout="NC"),)


class TestMultiClass(TaskConformance):
    plugin = "classify"
    task = "classify"
    options = {
        "labels": ["radiograph", "ultrasound", "other"],
        "expect": {"attribute": "modality", "values": {"radiograph": ["CR", "DX"], "ultrasound": ["US"], "*": "other"}},
        "per_frame": True,
    }
    outputs = _output(3)
    nonsense = (
        {},
        {"labels": []},
        {"labels": ["a", "a", "b"]},
        {"labels": ["a", "b"]},
        {"labels": ["a", "b", "c"], "activation": "sigmoid"},
        {"labels": ["a", "b", "c"], "temperature": 0},
        {"labels": ["a", "b", "c"], "threshold": 1.5},
        {"labels": ["a", "b", "c"], "thresholds": {"d": 0.5}},
        {"labels": ["a", "b", {"label": "c", "threshold": 0.5}], "thresholds": {"c": 0.5}},
        {"labels": ["a", "b", {"label": "c", "colour": "red"}]},
        {"labels": ["a", "b", {"label": "c", "concept": {"code": "1", "scheme": "SCT"}}]},
        {"labels": ["a", "b", "c"], "top_k": -1},
        {"labels": ["a", "b", "c"], "per_frame": 1},
        {"labels": ["a", "b", "c"], "summarise": "median"},
        {"labels": ["a", "b", "c"], "output": "other"},
        {"labels": ["a", "b", "c"], "expect": {"attribute": "patient_name", "values": {"a": ["x"]}}},
        {"labels": ["a", "b", "c"], "expect": {"attribute": "modality", "values": {"d": ["x"]}}},
        {"labels": ["a", "b", "c"], "expect": {"attribute": "modality", "values": {"*": "d"}}},
        {"labels": ["a", "b", "c"], "expect": {"attribute": "modality", "values": {"a": "US"}}},
        {"labels": ["a", "b", "c"], "expect": {"attribute": "modality", "values": {"a": ["US"]}, "threshold": 2}},
    )
    wrong_outputs = ((), _output(4), (*_output(3), TensorSpec(name="more", dtype="float32", shape=(1, 3))))

    def example_outputs(self, seed: int) -> dict[str, Array]:
        values = np.random.default_rng(seed).random((1, 3))
        return {"scores": (values / values.sum()).astype(np.float32)}


class TestMultiClassLogits(TaskConformance):
    plugin = "classify"
    task = "classify"
    options = {"labels": ["a", "b", "c"], "activation": "softmax", "temperature": 1.7, "summarise": "vote"}
    outputs = _output(3)
    nonsense = ({"labels": ["a", "b", "c"], "activation": "softmax", "temperature": -1},)
    wrong_outputs = (_output(2),)


class TestMultiLabel(TaskConformance):
    plugin = "classify"
    task = "classify"
    options = {
        "labels": [
            "cardiomegaly",
            {
                "label": "pneumonia",
                "threshold": 0.3,
                "concept": {"code": "233604007", "scheme": "SCT", "meaning": "Pneumonia"},
            },
        ],
        "mode": "multi-label",
        "summarise": "max",
    }
    outputs = _output(2)
    nonsense = (
        {"labels": ["a", "b"], "mode": "multi-label", "activation": "softmax"},
        {
            "labels": ["a", "b"],
            "mode": "multi-label",
            "expect": {"attribute": "modality", "values": {"a": ["US"]}},
        },
    )
    wrong_outputs = (_output(3),)


class TestBinary(TaskConformance):
    plugin = "classify"
    task = "classify"
    options = {"labels": ["ap", "pa"], "mode": "binary", "activation": "sigmoid"}
    outputs = _output(1)
    nonsense = (
        {"labels": ["a", "b", "c"], "mode": "binary"},
        {"labels": ["a", "b"], "mode": "binary", "thresholds": {"a": 0.2}},
        {"labels": ["a", "b"], "mode": "binary", "activation": "softmax"},
    )
    wrong_outputs = (_output(2),)


def _mask(channels: int, layout: str = "NHWC") -> tuple[TensorSpec, ...]:
    shape = (None, 32, 40, channels) if layout == "NHWC" else (1, channels, 32, 40)
    return (TensorSpec(name="mask", dtype="float32", shape=shape, layout=layout),)


class TestSegmentOneLabel(TaskConformance):
    plugin = "segment"
    task = "segment"
    engine_modules = ("contourpy",)
    options = {
        "labels": [{"label": "head", "concept": {"code": "69536005", "scheme": "SCT", "meaning": "Head structure"}}],
        "largest_component": True,
        "fill_holes": True,
        "min_area_px": 4,
        "per_frame": True,
    }
    outputs = _mask(1)
    nonsense = (
        {},
        {"labels": []},
        {"labels": ["a", "b"]},
        {"labels": ["a"], "mode": "multi-class"},
        {"labels": ["a"], "mode": "binary"},
        {"labels": ["a"], "background": "a"},
        {"labels": ["a"], "activation": "softmax"},
        {"labels": ["a"], "threshold": 0},
        {"labels": ["a"], "threshold": 1.5},
        {"labels": ["a"], "thresholds": {"b": 0.5}},
        {"labels": [{"label": "a", "threshold": 0.0}]},
        {"labels": ["a"], "min_area_px": -1},
        {"labels": ["a"], "min_area_mm2": "1"},
        {"labels": ["a"], "min_area_px": float("nan")},
        {"labels": ["a"], "max_points": 2},
        {"labels": ["a"], "fill_holes": 1},
        {"labels": ["a"], "output": "other"},
    )
    wrong_outputs = (
        (),
        _mask(2),
        (TensorSpec(name="mask", dtype="float32", shape=(1, 2), layout="NC"),),
        (*_mask(1), TensorSpec(name="more", dtype="float32", shape=(1, 3))),
    )


class TestSegmentEllipse(TaskConformance):
    plugin = "segment"
    task = "segment"
    options = {"labels": ["a", "b"], "shape": "ellipse", "ellipse": True, "fill_holes": True}
    outputs = _mask(2)
    nonsense = ({"labels": ["a", "b"], "shape": "box"}, {"labels": ["a", "b"], "shape": ["ellipse"]})
    wrong_outputs = (_mask(1),)


class TestSegmentLogits(TaskConformance):
    plugin = "segment"
    task = "segment"
    options = {"labels": ["rest", "wall", "room"], "mode": "multi-class", "activation": "softmax", "background": "rest"}
    outputs = _mask(3, "NCHW")
    nonsense = (
        {"labels": ["rest", "wall", "room"], "mode": "multi-class", "activation": "sigmoid"},
        {"labels": ["rest", "wall", "room"], "mode": "multi-class", "background": "other"},
        {"labels": ["rest", "wall", "wall"], "mode": "multi-class"},
    )
    wrong_outputs = (_mask(2, "NCHW"),)


class TestJudgeOfClasses(JudgeConformance):
    plugin = "classify"
    task = "classify"
    options = {"labels": ["a", "b", "c"], "activation": "softmax"}
    outputs = _output(3)
    rows = ({"label": "0", "values": {"0": "a", "1": "b", "2": "c"}}, {"label": "b"}, {"label": "c"})
    nonsense_rows = (
        {"label": "d"},
        {"label": "a", "values": {"0": "a"}},
        {"labels": ["1", "0"]},
        {"labels": ["2"] * 3},
    )


class TestJudgeOfOneClass(JudgeConformance):
    plugin = "classify"
    task = "classify"
    options = {"labels": ["ap", "pa"], "mode": "binary", "activation": "sigmoid"}
    outputs = _output(1)
    rows = ({"label": "pa"}, {"label": "ap"})
    nonsense_rows = ({"label": "PA"}, {"label": ""})

    def example_outputs(self, seed: int) -> dict[str, Array]:
        return {"scores": np.random.default_rng(seed).normal(size=(1, 1)).astype(np.float32)}


class TestJudgeOfSeveralLabels(JudgeConformance):
    plugin = "classify"
    task = "classify"
    options = {"labels": ["x", "y"], "mode": "multi-label"}
    outputs = _output(2)
    rows = ({"labels": ["1", "0"]}, {"labels": ["1", "1"]}, {"labels": ["0", "0"]})
    nonsense_rows = ({"labels": ["1"]}, {"labels": ["1", "yes"]})


def _half(columns: slice) -> Array:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:70, columns] = 255
    return mask


class TestJudgeOfMasks(JudgeConformance):
    plugin = "segment"
    task = "segment"
    options = {"labels": ["head"], "fill_holes": True}
    outputs = _mask(1)
    rows = ({"mask": _half(slice(20, 60))}, {"mask": _half(slice(60, 64))}, {"mask": _half(slice(0, 0))})
    nonsense_rows = ({"mask": "nowhere.png"},)

    def context(self) -> FrameContext:
        return seen()

    def example_outputs(self, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0:32, 0:40]
        disc = np.hypot(y - random.uniform(8, 24), x - random.uniform(8, 24)) < random.uniform(0, 9)
        return {"mask": (0.9 * disc[np.newaxis, ..., np.newaxis]).astype(np.float32)}


HEAD = {"name": "head", "unit": "mm", "low": 0, "high": 500, "same": 3}
PER_PIXEL = {"per": "source-pixel", "scale": 1000, "offset": 50}


class TestRegress(TaskConformance):
    plugin = "regress"
    task = "regress"
    options = {
        "values": [
            {
                **{"name": "head circumference", "unit": "mm", "low": 0, "high": 500, "same": 3, "sizes": [100, 200]},
                **{"per": "source-pixel", "scale": 900, "offset": 100},
                "concept": {"code": "11984-2", "scheme": "LN", "meaning": "Head circumference"},
            },
            {"name": "ratio", "unit": "1", "low": 0, "high": 1, "same": 0.05},
        ],
        "intervals": {"head circumference": {"coverage": 0.9, "half": [3, 4, 5]}},
        "per_frame": True,
    }
    outputs = _output(2)
    nonsense = (
        {},
        {"values": []},
        {"values": "head"},
        {"values": [HEAD]},
        {"values": [HEAD, HEAD]},
        {"values": [HEAD, {**HEAD, "name": ""}]},
        {"values": [HEAD, {"name": "b", "unit": "mm", "low": 0, "high": 1}]},
        {"values": [HEAD, {**HEAD, "name": "b", "colour": "red"}]},
        {"values": [HEAD, {**HEAD, "name": "b", "low": 500}]},
        {"values": [HEAD, {**HEAD, "name": "b", "high": float("inf")}]},
        {"values": [HEAD, {**HEAD, "name": "b", "same": -1}]},
        {"values": [HEAD, {**HEAD, "name": "b", "same": 501}]},
        {"values": [HEAD, {**HEAD, "name": "b", "scale": 0}]},
        {"values": [HEAD, {**HEAD, "name": "b", "per": "pixel"}]},
        {"values": [HEAD, {**HEAD, "name": "b", "per": "model-pixel", "unit": "kg"}]},
        {"values": [HEAD, {**HEAD, "name": "b", "sizes": [200, 100]}]},
        {"values": [HEAD, {**HEAD, "name": "b", "sizes": [500]}]},
        {"values": [HEAD, {**HEAD, "name": "b", "concept": {"code": "1"}}]},
        {"values": [HEAD, {**HEAD, "name": "b"}], "intervals": {"c": {"coverage": 0.9, "half": 3}}},
        {"values": [HEAD, {**HEAD, "name": "b"}], "intervals": {"b": {"coverage": 1, "half": 3}}},
        {"values": [HEAD, {**HEAD, "name": "b"}], "intervals": {"b": {"coverage": 0.9, "half": -3}}},
        {"values": [HEAD, {**HEAD, "name": "b"}], "intervals": {"b": {"coverage": 0.9, "half": [3, 4]}}},
        {"values": [HEAD, {**HEAD, "name": "b"}], "intervals": {"b": 3}},
        {"values": [HEAD, {**HEAD, "name": "b"}], "loss": "hinge"},
        {"values": [HEAD, {**HEAD, "name": "b"}], "output": "other"},
    )
    wrong_outputs = (
        (),
        _output(1),
        _output(3),
        (TensorSpec(name="map", dtype="float32", shape=(1, 8, 8, 2), layout="NHWC"),),
        (*_output(2), TensorSpec(name="more", dtype="float32", shape=(1, 2))),
    )

    def unstated_outputs(self):
        return {"scores": np.array([[0.5, 1.5]], np.float32)}  # a ratio is at most 1


class TestJudgeOfAValue(JudgeConformance):
    plugin = "regress"
    task = "regress"
    options = {
        "values": [
            {**{"name": "head", "unit": "mm", "low": 20, "high": 440, "same": 3, "sizes": [100, 200]}, **PER_PIXEL},
        ],
        "intervals": {"head": {"coverage": 0.9, "half": [60, 80, 100]}},
    }
    outputs = _output(1)
    rows = ({"value": "171.5"}, {"value": "96"}, {"value": "310.25"})
    nonsense_rows = ({"value": "wide"}, {"value": "nan"}, {"value": "19.9"}, {"value": "441"})


class TestJudgeOfSeveralValues(JudgeConformance):
    plugin = "regress"
    task = "regress"
    options = {
        "values": [
            {"name": "long axis", "unit": "mm", "low": 0, "high": 0.9, "same": 0.1},
            {"name": "angle", "unit": "deg", "low": 0, "high": 1, "same": 0.2, "sizes": [0.5]},
        ],
        "loss": "mean-absolute-error",
    }
    outputs = _output(2)
    rows = ({"long axis": "0.5", "angle": "0.2"}, {"long axis": "0.1", "angle": "0.9"})
    nonsense_rows = ({"long axis": "0.5"}, {"long axis": "0.5", "angle": "up"}, {"long axis": "2", "angle": "0.1"})


def _grid(labels: int, layout: str = "NHWC", name: str = "boxes", rows: int = 12) -> TensorSpec:
    columns = rows * 4 // 3
    shape = (1, rows, columns, labels + 4) if layout == "NHWC" else (1, labels + 4, rows, columns)
    return TensorSpec(name=name, dtype="float32", shape=shape, layout=layout)


def _rows(**widths: int) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dtype="float32", shape=(1, 6, width)) for name, width in widths.items())


def _amid(seed: int) -> Array:
    """(6, 4): x0, y0, x1, y1 in shares of the plane, amid it."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0.35, 0.5, (6, 2))
    return np.concatenate((corner, corner + random.uniform(0.1, 0.2, (6, 2))), axis=1).astype(np.float32)


def _scores(seed: int, columns: int) -> Array:
    scores = np.random.default_rng(seed).random((1, 6, columns)).astype(np.float32)
    scores[0, 0, 0] = 0.95
    return scores


class TestDetectDense(TaskConformance):
    plugin = "detect"
    task = "detect"
    options = {
        "form": "dense",
        "labels": [{"label": "head", "concept": {"code": "69536005", "scheme": "SCT", "meaning": "Head structure"}}],
        "threshold": 0.3,
        "per_frame": True,
    }
    outputs = (_grid(1),)
    nonsense = (
        {},
        {"labels": ["a"]},
        {"form": "dense"},
        {"labels": [], "form": "dense"},
        {"labels": ["a", "a"], "form": "dense"},
        {"labels": ["a"], "form": "yolo"},
        {"labels": ["a"], "form": ["dense"]},
        {"labels": ["a", "b"], "form": "dense"},
        {"labels": ["a"], "form": "dense", "activation": "softmax"},
        {"labels": ["a"], "form": "dense", "background": "first"},
        {"labels": ["a"], "form": "dense", "threshold": 0},
        {"labels": ["a"], "form": "dense", "threshold": 1.5},
        {"labels": ["a"], "form": "dense", "thresholds": {"b": 0.5}},
        {"labels": [{"label": "a", "threshold": 0.001}], "form": "dense"},
        {"labels": ["a"], "form": "dense", "outputs": ["other"]},
        {"labels": ["a"], "form": "dense", "outputs": ["boxes", "boxes"]},
        {"labels": ["a"], "form": "dense", "outputs": []},
        {"labels": ["a"], "form": "dense", "outputs": "boxes"},
        {"labels": ["a"], "form": "dense", "anchors": [[0.5, 0.5, 1, 1]]},
        {"labels": ["a"], "form": "dense", "nms": "soft"},
        {"labels": ["a"], "form": "dense", "nms_overlap": -0.1},
        {"labels": ["a"], "form": "dense", "nms_sigma": 0},
        {"labels": ["a"], "form": "dense", "nms_across_labels": 1},
        {"labels": ["a"], "form": "dense", "max_detections": 0},
        {"labels": ["a"], "form": "dense", "box_scales": [1, 1, 1]},
        {"labels": ["a"], "form": "dense", "box_scales": [1, 1, 1, 0]},
        {"labels": ["a"], "form": "dense", "sizes": [3, 2]},
        {"labels": ["a"], "form": "dense", "millimetres_from": ["ruler"]},
    )
    wrong_outputs = (
        (),
        (_grid(2),),
        (TensorSpec(name="boxes", dtype="float32", shape=(1, 5), layout="NC"),),
        (_grid(1), TensorSpec(name="more", dtype="float32", shape=(1, 3))),
    )


class TestDetectLevels(TaskConformance):
    plugin = "detect"
    task = "detect"
    options = {
        "form": "dense",
        "labels": ["a", "b"],
        "activation": "sigmoid",
        "nms": "gaussian",
        "outputs": ["fine", "coarse"],
    }
    outputs = (_grid(2, "NCHW", "coarse", 3), _grid(2, "NCHW", "fine"))
    nonsense = ({"form": "dense", "labels": ["a", "b"], "outputs": ["fine", "finest"]},)
    wrong_outputs = ((_grid(3, "NCHW", "coarse", 3), _grid(2, "NCHW", "fine")),)


class TestDetectSsd(TaskConformance):
    plugin = "detect"
    task = "detect"
    options = {
        "form": "ssd",
        "labels": ["a", "b"],
        "anchors": {"grids": [[1, 1]], "min_scale": 0.3, "reduce_lowest": False, "aspect_ratios": [1, 2, 0.5, 3, 0.4]},
    }
    outputs = _rows(boxes=4, scores=3)
    nonsense = tuple(
        {"form": "ssd", "labels": ["a", "b"], "anchors": anchors}
        for anchors in (
            None,
            [],
            "grid",
            [[0.5, 0.5, 1, 1]],
            [[0.5, 0.5, 1]] * 6,
            [[0.5, 0.5, 1, 0]] * 6,
            [[0.5, 0.5, 1, float("nan")]] * 6,
            {},
            {"grids": [[6, 0]]},
            {"grids": [[1, 3]]},
            {"grids": [[1, 1]], "scale": 2},
            {"grids": [[1, 1]], "min_scale": 0},
            {"grids": [[1, 1]], "aspect_ratios": [0]},
            {"grids": [[1, 1]], "interpolated": -1},
            {"grids": [[1, 1]], "reduce_lowest": 1},
            {"grids": [[10_000, 10_000]]},
        )
    )
    wrong_outputs = (_rows(boxes=4, scores=2), _rows(boxes=5, scores=3), _rows(boxes=4))

    def example_outputs(self, seed: int) -> dict[str, Array]:
        boxes = np.random.default_rng(seed).normal(size=(1, 6, 4)).astype(np.float32)
        scores = _scores(seed, 3)
        scores[0, 0, 1] = 5.0
        return {"boxes": boxes, "scores": scores / scores.sum(axis=2, keepdims=True)}


class TestDetectPostprocessed(TaskConformance):
    plugin = "detect"
    task = "detect"
    options = {"form": "tflite-postprocessed", "labels": ["a", "b"], "outputs": ["boxes", "classes", "scores", "count"]}
    outputs = (
        TensorSpec(name="scores", dtype="float32", shape=(1, 6)),
        *_rows(boxes=4),
        TensorSpec(name="count", dtype="float32", shape=(1,)),
        TensorSpec(name="classes", dtype="float32", shape=(1, 6)),
    )
    nonsense = (
        {"form": "tflite-postprocessed", "labels": ["a", "b"]},
        {"form": "tflite-postprocessed", "labels": ["a"], "outputs": ["boxes", "scores"]},
        {**options, "activation": "sigmoid"},
        {**options, "background": "first"},
        {**options, "order": "zyx"},
    )
    wrong_outputs = (outputs[:3], (*outputs[:2], TensorSpec(name="count", dtype="float32", shape=(1, 6)), outputs[3]))

    def example_outputs(self, seed: int) -> dict[str, Array]:
        boxes = np.ascontiguousarray(_amid(seed)[np.newaxis][..., [1, 0, 3, 2]])
        classes = np.random.default_rng(seed).integers(0, 2, (1, 6)).astype(np.float32)
        scores = np.ascontiguousarray(_scores(seed, 1)[..., 0])
        return {"scores": scores, "boxes": boxes, "count": np.float32([4]), "classes": classes}


class TestDetectTwoStage(TaskConformance):
    plugin = "detect"
    task = "detect"
    options = {"form": "two-stage", "labels": ["a", "b"], "activation": "softmax", "coordinates": "shares"}
    outputs = _rows(proposals=4, scores=3, deltas=8)
    nonsense = (
        {**options, "background": "no"},
        {**options, "coordinates": "metres"},
        {**options, "labels": ["a"]},
    )
    wrong_outputs = (
        _rows(proposals=4, scores=3, deltas=16),
        _rows(proposals=4, scores=2, deltas=8),
        (*outputs, _grid(2)),
    )

    def example_outputs(self, seed: int) -> dict[str, Array]:
        deltas = np.random.default_rng(seed).normal(size=(1, 6, 8)).astype(np.float32)
        scores = _scores(seed, 3) + np.float32([3, 0, 0])
        return {"proposals": _amid(seed)[np.newaxis], "scores": scores, "deltas": deltas}


class TestJudgeOfBoxes(JudgeConformance):
    plugin = "detect"
    task = "detect"
    options = {"form": "dense", "labels": ["a", "b"], "threshold": 0.9, "sizes": [10.0, 30.0], "max_detections": 6}
    outputs = (_grid(2, rows=3),)
    rows = (
        {"boxes": '[{"box": [10, 20, 40, 60], "label": "a"}, {"box": [50, 20, 90, 60], "label": "b"}]'},
        {"boxes": '[{"box": [10, 20, 40, 60], "label": "b"}]'},
        {"boxes": "[]"},
        {"x0": "10", "y0": "20", "x1": "41", "y1": "60", "label": "a"},
    )
    nonsense_rows = (
        {"boxes": "10 20 40 60"},
        {"boxes": '{"box": [10, 20, 40, 60]}'},
        {"boxes": "[[10, 20, 40, 60]]"},
        {"boxes": '[{"box": [10, 20, 40, 60], "label": "c"}]'},
        {"boxes": '[{"box": [40, 20, 10, 60], "label": "a"}]'},
        {"boxes": '[{"box": [10, 20, 40], "label": "a"}]'},
        {"boxes": '[{"box": [10, 20, 40, NaN], "label": "a"}]'},
        {"boxes": '[{"box": [10, 20, 40, true], "label": "a"}]'},
        {"x0": "10", "y0": "20", "x1": "40"},
        {"x0": "10", "y0": "20", "x1": "40", "y1": "", "label": "a"},
        {"x0": "10", "y0": "20", "x1": "40", "y1": "60"},
    )


class TestJudgeOfTwoStages(JudgeConformance):
    plugin = "detect"
    task = "detect"
    options = TestDetectTwoStage.options
    outputs = (*TestDetectTwoStage.outputs, _grid(1, name="grid", rows=3))
    rows = TestJudgeOfBoxes.rows
    nonsense_rows = TestJudgeOfBoxes.nonsense_rows[:2]

    def example_outputs(self, seed: int) -> dict[str, Array]:
        grid = np.random.default_rng(seed).normal(size=self.outputs[-1].shape).astype(np.float32)
        return {**TestDetectTwoStage().example_outputs(seed), "grid": grid}


class TestJudgeOfBoxesOfMasks(JudgeConformance):
    plugin = "detect"
    task = "detect"
    options = {**TestDetectPostprocessed.options, "labels": ["head"]}
    outputs = TestDetectPostprocessed.outputs
    rows = ({"mask": _half(slice(40, 80))}, {"mask": _half(slice(60, 64))}, {"mask": _half(slice(0, 0))})
    nonsense_rows = ({"mask": "nowhere.png"},)

    def context(self) -> FrameContext:
        return seen()

    def example_outputs(self, seed: int) -> dict[str, Array]:
        outputs = TestDetectPostprocessed().example_outputs(seed)
        return {**outputs, "classes": np.zeros((1, 6), np.float32)}


PICTURE = (TensorSpec(name="made", dtype="float32", shape=(1, 96, 128, 1), layout="NHWC"),)


def _as_the_model_saw(number: int = 1) -> FrameContext:
    frame = example_frame("float32", number=number)
    return FrameContext(frame=frame, instance=instance_ref(number_of_frames=9))


class TestReconstruct(TaskConformance):
    plugin = "reconstruct"
    task = "reconstruct"
    options = {"smooth_px": 3, "part": 0.1, "threshold": 0.3, "per_frame": True}
    outputs = PICTURE
    nonsense = (
        {"labels": ["usual"]},
        {"labels": ["a", "b", "c"]},
        {"labels": ["a", {"label": "b", "threshold": 0.5}]},
        {"error": "cubed"},
        {"smooth_px": 2},
        {"smooth_px": -1},
        {"part": 0},
        {"part": 1.5},
        {"threshold": -1},
        {"threshold": float("nan")},
        {"output": "other"},
    )
    wrong_outputs = ((), _output(3), (*PICTURE, *_output(1)))

    def context(self, number: int = 1) -> FrameContext:
        return _as_the_model_saw(number)


class TestJudgeOfPictures(JudgeConformance):
    plugin = "reconstruct"
    task = "reconstruct"
    options = {"threshold": 0.3, "error": "squared"}
    outputs = PICTURE
    rows = ({"unusual": "0"}, {"unusual": "1"})
    nonsense_rows = ({"unusual": "maybe"}, {"unusual": "10"}, {"unusual": ""})

    def context(self) -> FrameContext:
        return _as_the_model_saw()
