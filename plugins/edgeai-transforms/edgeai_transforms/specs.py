"""What this plugin provides: each step's options and source. Imports no OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from edgeai.api import Options, OptionSpec, Transform, TransformSpec
from edgeai_transforms.options import OptionReader


def _option(name: str, help_: str, default: object = None, *, choices: tuple[str, ...] = ()) -> OptionSpec:
    return OptionSpec(name=name, help=help_, default=default, choices=choices)


def _required(name: str, help_: str) -> OptionSpec:
    return OptionSpec(name=name, help=help_, required=True)


def _spec(name: str, where: str, help_: str, source: str, options: tuple[OptionSpec, ...] = ()) -> TransformSpec:
    return TransformSpec(name=name, build=_built_by(name, where, options), options=options, help=help_, source=source)


def _built_by(name: str, where: str, declared: tuple[OptionSpec, ...]) -> Callable[[Options], Transform]:
    module, _, kind = where.partition(".")

    def build(options: Options) -> Transform:
        read = OptionReader(name, declared, options)
        # OpenCV comes in here, not when the plugin registers.
        step: Transform = getattr(import_module(f"edgeai_transforms.{module}"), kind).of(read)
        return step

    return build


_EXTENT = (
    _required("rows", "height of the new plane, pixels, 1 to 16384"),
    _required("columns", "width of the new plane, pixels, 1 to 16384"),
)
_SAMPLING = (
    _option(
        "method",
        "area: mean of the source area of each new pixel (bilinear along an axis that grows); linear, cubic, lanczos: "
        "that interpolation, after a Gaussian of sigma (shrink - 1) / 2 along an axis that shrinks",
        "area",
        choices=("area", "linear", "cubic", "lanczos"),
    ),
    _option(
        "two_pass",
        "fast path that changes the numbers, with method area: halve as often as the plane stays at least `margin` "
        "times the target, then one area pass; up to (2^halvings - 1) edge rows and columns are left out",
        False,
    ),
    _option("margin", "with two_pass, 1 to 8: the least is the fastest, and the farthest from the exact pass", 2),
)

SPECS: tuple[TransformSpec, ...] = (
    _spec(
        "modality",
        "grey_levels.Modality",
        "Stored values to the units of the Modality LUT or Rescale Slope and Intercept, float32.",
        "PS3.3 C.11.1",
    ),
    _spec(
        "window",
        "grey_levels.WindowLevels",
        "Grey levels inside a window to a fixed range; applies the Modality LUT first while values are stored ones.",
        "PS3.3 C.11.1, C.11.2.1.1, C.11.2.1.2 (LINEAR), C.11.2.1.3 (SIGMOID, LINEAR_EXACT)",
        (
            _option(
                "mode",
                "voi: the header's own; fixed: center and width; percentile: low and high of this frame",
                "voi",
                choices=("voi", "fixed", "percentile"),
            ),
            _option("use", "with voi, which wins where the header has both", "lut", choices=("lut", "window")),
            _option("index", "with voi, which of several windows or VOI LUTs, from 1", 1),
            _option(
                "on_missing",
                "with voi, what happens where the header has none: full_range is all of Bits Stored",
                "fail",
                choices=("fail", "full_range", "percentile"),
            ),
            _option("center", "with fixed, Window Center in units after the Modality LUT"),
            _option("width", "with fixed, Window Width in units after the Modality LUT; at least 1 for LINEAR"),
            _option(
                "function", "with fixed, the VOI LUT Function", "LINEAR", choices=("LINEAR", "LINEAR_EXACT", "SIGMOID")
            ),
            _option("low", "with percentile, what becomes black, percent; padding values do not count", 1.0),
            _option("high", "with percentile, what becomes white, percent; padding values do not count", 99.0),
            _option(
                "output",
                "unit: float32 0 to 1; byte: float32 0 to 255; uint8, uint16: rounded whole numbers",
                "unit",
                choices=("unit", "byte", "uint8", "uint16"),
            ),
        ),
    ),
    _spec(
        "invert",
        "photometric.Invert",
        "MONOCHROME1 to MONOCHROME2, the header's windows mirrored too; every other frame stays as it is.",
        "PS3.3 C.7.6.3.1.2",
        (_option("top", "white level of float values, in their own units (1 after window with output unit)"),),
    ),
    _spec(
        "crop_ultrasound",
        "crop.CropUltrasound",
        "The largest 2D tissue region (Region Spatial Format 1, Region Data Type 1) of the header, cut to the frame.",
        "PS3.3 C.8.5.5; content: morphological closing and opening, then the largest connected component",
        (
            _option(
                "on_missing",
                "where the header has no such region: keep the frame, fail, or cut to the content",
                "keep",
                choices=("keep", "fail", "content"),
            ),
            _option("black", "with content, fraction of the white level that still counts as black, 0 to 0.9", 0.06),
            _option(
                "least_area", "with content, least fraction of the frame that the content box covers, 0 to 1", 0.05
            ),
        ),
    ),
    _spec(
        "resize",
        "resample.Resize",
        "The whole frame to a fixed extent.",
        "OpenCV imgproc resize; antialiasing of linear, cubic, lanczos as scikit-image's resize",
        (
            *_EXTENT,
            _option(
                "keep_aspect",
                "keep the aspect ratio: the largest plane inside rows x columns; without padding, so that a percentile "
                "window before `letterbox` sees the picture alone",
                False,
            ),
            *_SAMPLING,
        ),
    ),
    _spec(
        "letterbox",
        "resample.Letterbox",
        "The whole frame, aspect ratio kept, centred in a fixed extent.",
        "OpenCV imgproc resize; antialiasing of linear, cubic, lanczos as scikit-image's resize",
        (*_EXTENT, _option("pad", "value of the pixels beside the picture, in the frame's units", 0.0), *_SAMPLING),
    ),
    _spec(
        "normalise",
        "intensity.Normalise",
        "Values to what the network was trained on, float32.",
        "affine; zscore: Z = (x - mean) / standard deviation of the frame",
        (
            OptionSpec(
                name="mode",
                required=True,
                choices=("scale", "mean_std", "zscore", "range", "full_range"),
                help="scale: x * scale + offset; mean_std: (x - mean) / std; zscore: by this frame's own mean and "
                "deviation; range: this frame's least and greatest value to `to`; full_range: Bits Stored to `to`",
            ),
            _option("scale", "with scale, the factor (1 when absent)"),
            _option("offset", "with scale, the summand, in units of the result (0 when absent)"),
            _option("mean", "with mean_std, one number, or one a sample, in the frame's units"),
            _option("std", "with mean_std, one number, or one a sample, above 0, in the frame's units"),
            _option("to", "with range and full_range, [least, greatest] of the result ([0, 1] when absent)"),
        ),
    ),
    _spec(
        "clip",
        "intensity.Clip",
        "Values outside two bounds become the bound; the dtype stays.",
        "elementwise",
        (
            _required("low", "least value, in the frame's units"),
            _required("high", "greatest value, in the frame's units"),
        ),
    ),
    _spec(
        "quantise",
        "intensity.Quantise",
        "Real values to a quantised input's whole numbers: round(x / scale) + zero_point, cut to the dtype.",
        "TensorFlow Lite 8-bit quantization specification",
        (
            OptionSpec(
                name="dtype",
                required=True,
                choices=("int8", "uint8", "int16", "uint16"),
                help="of the result, which is the input's",
            ),
            _required("scale", "what a step of 1 stands for, above 0; the input's own"),
            _option("zero_point", "the whole number that stands for 0; the input's own", 0),
        ),
    ),
    _spec(
        "clahe",
        "intensity.Clahe",
        "Contrast-limited adaptive histogram equalisation of a grey plane, to its dtype's full range.",
        "Zuiderveld, Graphics Gems IV (1994), VIII.5; OpenCV CLAHE",
        (
            _option("limit", "greatest slope of a tile's equalisation; 0 for none", 2.0),
            _option("tiles_rows", "tiles from top to bottom, 1 to 64", 8),
            _option("tiles_columns", "tiles from left to right, 1 to 64", 8),
            _option("histogram_bits", "for uint16, bits of a histogram's index, 8 to 16; `limit` depends on it", 8),
        ),
    ),
    _spec(
        "median",
        "denoise.Median",
        "Each pixel becomes the median of the square around it.",
        "Huang, Yang and Tang, IEEE TASSP 27 (1979); OpenCV medianBlur",
        (_option("size_px", "side of the square, pixels, odd, 3 to 31; above 5 for uint8 alone", 3),),
    ),
    _spec(
        "gaussian",
        "denoise.Gaussian",
        "Convolution with a Gaussian; edges are reflected.",
        "OpenCV GaussianBlur",
        (_option("sigma_px", "standard deviation, pixels, above 0, at most 100", 1.0),),
    ),
    _spec(
        "bilateral",
        "denoise.Bilateral",
        "A Gaussian in space and in grey level: smooths, and leaves edges.",
        "Tomasi and Manduchi, ICCV 1998; OpenCV bilateralFilter",
        (
            _option("diameter_px", "side of the neighbourhood, pixels, odd, 3 to 25", 5),
            _required("sigma_grey", "standard deviation in grey level, in the frame's units, above 0"),
            _option("sigma_px", "standard deviation in space, pixels, above 0, at most 100", 2.0),
        ),
    ),
    _spec(
        "nl_means",
        "denoise.NlMeans",
        "Each pixel becomes the mean of those whose surroundings look alike.",
        "Buades, Coll and Morel, CVPR 2005; OpenCV fastNlMeansDenoising",
        (
            _required("strength_grey", "filter strength h, in the frame's units, above 0"),
            _option("patch_px", "side of the surroundings that are compared, pixels, odd, 3 to 15", 7),
            _option("search_px", "side of the square that is searched, pixels, odd, 3 to 51", 21),
        ),
    ),
    _spec(
        "structure",
        "structure.Structure",
        "A grey plane to the structure of each cell of it: brightness, and how much it changes along x and y.",
        "means of absolute differences over cells at octave scales, their logarithms; energies of bands as of "
        "textures: Laws, SPIE 238 (1980)",
        (
            _option("cell_px", "side of a cell, pixels, 2 to 64; it has to divide the plane", 8),
            _option(
                "scales",
                "1 to 6: neighbouring pixels differ by so much at the plane's own scale, at half of it, and so on; "
                "each scale gives two samples, and 2^(scales - 1) has to divide cell_px",
                3,
            ),
            _option(
                "floor",
                "added to a mean change before its logarithm, in the frame's units, above 0: changes far below it do "
                "not count",
                0.02,
            ),
        ),
    ),
    _spec(
        "grey",
        "photometric.Grey",
        "RGB to MONOCHROME2 by luma 0.299 R + 0.587 G + 0.114 B; grey frames stay as they are.",
        "ITU-R BT.601-7, 2.5.1",
    ),
    _spec(
        "rgb",
        "photometric.Rgb",
        "MONOCHROME2 to three equal planes; RGB frames stay as they are.",
        "PS3.3 C.7.6.3.1.2",
    ),
)
