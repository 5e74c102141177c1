"""Every step of this plugin against the kit's rules."""

from __future__ import annotations

import pytest

from edgeai.api import Frame
from edgeai.testing.conformance import TransformConformance
from edgeai.testing.examples import example_frame

GREY = (("uint8", 1), ("uint16", 1), ("int16", 1), ("float32", 1))
ALL = (*GREY, ("uint8", 3))


class Step(TransformConformance):
    plugin = "transforms"
    engine_modules = ("cv2",)
    __test__ = False


class TestModality(Step):
    __test__ = True
    transform = "modality"


class TestWindow(Step):
    __test__ = True
    transform = "window"
    options = {"mode": "percentile"}
    more_options = (
        {"mode": "fixed", "center": 500, "width": 4000, "function": "SIGMOID"},
        {"mode": "voi", "on_missing": "percentile", "output": "uint8"},
    )
    nonsense = (
        {"mode": "stretch"},
        {"mode": "fixed", "center": 1},
        {"mode": "fixed", "center": 1, "width": 0},
        {"center": 1},
        {"low": 60, "high": 40},
        {"low": -1},
        {"index": 0},
        {"index": True},
        {"output": "int8"},
    )


class TestInvert(Step):
    __test__ = True
    transform = "invert"
    accepts = ALL
    nonsense = ({"top": "white"}, {"top": float("nan")})


class TestCropUltrasound(Step):
    __test__ = True
    transform = "crop_ultrasound"
    more_options = ({"on_missing": "content"},)
    accepts = ALL
    nonsense = ({"on_missing": "guess"}, {"black": 1.0}, {"least_area": -0.1})


class TestResize(Step):
    __test__ = True
    transform = "resize"
    options = {"rows": 48, "columns": 50}
    more_options = (
        {"rows": 20, "columns": 21, "two_pass": True},
        {"rows": 48, "columns": 50, "keep_aspect": True},
        {"rows": 41, "columns": 150, "method": "linear"},
        {"rows": 41, "columns": 60, "method": "cubic"},
        {"rows": 150, "columns": 200, "method": "lanczos"},
    )
    accepts = ALL
    nonsense = (
        {"rows": 0, "columns": 5},
        {"rows": 5},
        {"rows": 5.0, "columns": 5},
        {"rows": 5, "columns": 20000},
        {"rows": 5, "columns": 5, "method": "nearest"},
        {"rows": 5, "columns": 5, "two_pass": 1},
        {"rows": 5, "columns": 5, "two_pass": True, "margin": 0},
        {"rows": 5, "columns": 5, "margin": 1},
        {"rows": 5, "columns": 5, "two_pass": True, "method": "cubic"},
    )


class TestLetterbox(Step):
    __test__ = True
    transform = "letterbox"
    options = {"rows": 64, "columns": 64}
    more_options = ({"rows": 30, "columns": 90, "pad": 1}, {"rows": 20, "columns": 20, "two_pass": True})
    accepts = ALL
    pads = True
    nonsense = ({"rows": 5, "columns": 5, "pad": "black"}, {"rows": 5, "columns": -5})


class TestNormalise(Step):
    __test__ = True
    transform = "normalise"
    options = {"mode": "range"}
    more_options = (
        {"mode": "zscore"},
        {"mode": "scale", "scale": 1 / 127.5, "offset": -1},
        {"mode": "mean_std", "mean": 0.4, "std": [0.2]},
    )
    accepts = ALL
    nonsense = (
        {},
        {"mode": "zscore", "scale": 2},
        {"mode": "mean_std", "mean": [1, 2]},
        {"mode": "mean_std", "mean": 1, "std": 0},
        {"mode": "mean_std", "mean": [1, 2], "std": [1]},
        {"mode": "full_range", "to": [1, 0]},
        {"mode": "range", "to": [0, 1, 2]},
    )


class TestFullRange(Step):
    __test__ = True
    transform = "normalise"
    options = {"mode": "full_range", "to": [-1, 1]}
    nonsense = ({"mode": "full_range", "to": [1]},)
    accepts = (("uint8", 1), ("uint16", 1), ("int16", 1), ("uint8", 3))


class TestClip(Step):
    __test__ = True
    transform = "clip"
    options = {"low": 0, "high": 4000}
    accepts = ALL
    nonsense = ({"low": 1, "high": 0}, {"low": 1}, {"low": 1, "high": float("inf")})


class TestQuantise(Step):
    __test__ = True
    transform = "quantise"
    options = {"dtype": "int16", "scale": 2.5, "zero_point": -3}
    accepts = ALL
    landmark_tolerance_px = None  # of floats between 0 and 1 this scale leaves nothing
    nonsense = (
        {"dtype": "int8"},
        {"dtype": "float32", "scale": 1},
        {"dtype": "int8", "scale": 0},
        {"dtype": "int8", "scale": 1, "zero_point": 128},
        {"dtype": "uint8", "scale": 1, "zero_point": 0.5},
    )


class TestClahe(Step):
    __test__ = True
    transform = "clahe"
    accepts = (("uint8", 1), ("uint16", 1))
    landmark_tolerance_px = None  # a spot changes its whole tile
    nonsense = ({"limit": -1}, {"histogram_bits": 7}, {"tiles_rows": 0}, {"tiles_columns": 2.5})


class TestMedian(Step):
    __test__ = True
    transform = "median"
    more_options = ({"size_px": 5},)
    accepts = ALL
    nonsense = ({"size_px": 4}, {"size_px": 1}, {"size_px": "3"})


class TestGaussian(Step):
    __test__ = True
    transform = "gaussian"
    options = {"sigma_px": 1.5}
    accepts = ALL
    nonsense = ({"sigma_px": 0}, {"sigma_px": -1}, {"sigma_px": 1000})


class TestBilateral(Step):
    __test__ = True
    transform = "bilateral"
    options = {"sigma_grey": 10}
    accepts = ALL
    nonsense = ({}, {"sigma_grey": 0}, {"sigma_grey": 1, "diameter_px": 4})


class TestNlMeans(Step):
    __test__ = True
    transform = "nl_means"
    options = {"strength_grey": 8, "search_px": 11, "patch_px": 5}
    accepts = (("uint8", 1), ("uint16", 1), ("int16", 1))
    nonsense = ({}, {"strength_grey": -2}, {"strength_grey": 1, "patch_px": 6})


class TestStructure(Step):
    __test__ = True
    transform = "structure"
    more_options = ({"cell_px": 16, "scales": 1, "floor": 1}, {"cell_px": 4, "scales": 2})
    accepts = GREY
    landmark_tolerance_px = None  # of a spot a cell keeps that it is there
    nonsense = (
        {"cell_px": 1},
        {"cell_px": 8.0},
        {"scales": 0},
        {"cell_px": 6, "scales": 3},
        {"floor": 0},
        {"floor": -0.1},
        {"floor": float("nan")},
    )

    def frame(self, dtype: str, samples: int) -> Frame:
        return example_frame(dtype, rows=64, columns=96, samples=samples)


class TestGrey(Step):
    __test__ = True
    transform = "grey"
    accepts = ALL


class TestRgb(Step):
    __test__ = True
    transform = "rgb"
    accepts = ALL


def test_every_step_is_held_to_the_rules() -> None:
    from edgeai_transforms.specs import SPECS

    held = {case.transform for case in Step.__subclasses__()}
    missing = {spec.name for spec in SPECS} - held
    if missing:
        pytest.fail(f"no conformance class for {sorted(missing)}")
