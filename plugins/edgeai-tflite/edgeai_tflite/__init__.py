"""The ``tflite`` plugin of edgeai: LiteRT or tflite-runtime as a backend, and the converter from Keras.

Importing this module imports no engine; each callable does when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeai.api import (
    BackendSpec,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    Described,
    Device,
    OpenRequest,
    OptionSpec,
    Session,
    hookimpl,
)

EDGEAI_API = (1, 1)


def _probe() -> Sequence[Device]:
    from edgeai_tflite.engine import probe

    return probe()


def _open(request: OpenRequest) -> Session:
    from edgeai_tflite.opening import open_session

    return open_session(request)


def _engine() -> str:
    from edgeai_tflite.engine import describe

    return describe()


def _explain() -> str:
    from edgeai_tflite.engine import explain

    return explain()


def _describe(artifact: Path) -> Described:
    from edgeai_tflite.describing import describe_tensors

    return describe_tensors(artifact)


def _convert(request: ConvertRequest) -> Converted:
    try:
        from edgeai_tflite.convert import convert
    except ModuleNotFoundError as error:
        raise ConversionFailed(
            f"converting needs {error.name}, which is not installed",
            code="convert.engine-missing",
            remedy="pip install 'edgeai-tflite[build]'",
        ) from error
    return convert(request)


BACKEND = BackendSpec(
    name="tflite",
    artifact_format="tflite",
    probe=_probe,
    open=_open,
    engine=_engine,
    explain=_explain,
    describe=_describe,
    options=(
        OptionSpec(
            name="signature",
            help="signature of the artifact to run; empty takes serving_default, or the only one there is",
            default="",
        ),
    ),
    settings=(
        OptionSpec(
            name="engine",
            help="which runtime loads the artifact; auto takes ai-edge-litert, else tflite-runtime",
            default="auto",
            choices=("auto", "litert", "tflite-runtime"),
        ),
        OptionSpec(
            name="xnnpack",
            help="run float and quantised layers in XNNPACK where it can; false takes the reference kernels",
            default=True,
            choices=(True, False),
        ),
    ),
    help="TensorFlow Lite models on the CPU, by LiteRT or by tflite-runtime.",
)

CONVERTER = ConverterSpec(
    name="tflite",
    artifact_format="tflite",
    precisions=("fp32", "fp16", "dynamic", "int8", "int16x8"),
    convert=_convert,
    calibrated=("int8", "int16x8"),
    options=(
        OptionSpec(
            name="keep_float",
            help="names of Keras layers that dynamic, int8 and int16x8 leave in float",
            default=(),
        ),
        OptionSpec(
            name="max_float_layers",
            help="how many more layers int8 and int16x8 may leave in float so that the score's drop holds",
            default=8,
        ),
    ),
    help="Keras to TensorFlow Lite; inputs and outputs are float32 in every precision.",
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``tflite`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """The ``tflite`` converter."""
    return (CONVERTER,)
