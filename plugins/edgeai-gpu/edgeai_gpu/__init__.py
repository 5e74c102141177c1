"""The ``gpu`` plugin of edgeai: TensorFlow with XLA on CUDA devices, and the converter from Keras.

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
    from edgeai_gpu.engine import probe

    return probe()


def _open(request: OpenRequest) -> Session:
    from edgeai_gpu.opening import open_session

    return open_session(request)


def _engine() -> str:
    from edgeai_gpu.engine import describe

    return describe()


def _explain() -> str:
    from edgeai_gpu.engine import explain

    return explain()


def _describe(artifact: Path) -> Described:
    from edgeai_gpu.describing import describe_tensors

    return describe_tensors(artifact)


def _convert(request: ConvertRequest) -> Converted:
    try:
        from edgeai_gpu.convert import convert
    except ModuleNotFoundError as error:
        raise ConversionFailed(
            f"converting needs {error.name}, which is not installed",
            code="convert.engine-missing",
            remedy="pip install 'edgeai-gpu[build]'",
        ) from error
    return convert(request)


BACKEND = BackendSpec(
    name="gpu",
    artifact_format="savedmodel",
    probe=_probe,
    open=_open,
    engine=_engine,
    explain=_explain,
    describe=_describe,
    options=(OptionSpec(name="signature", help="signature of the SavedModel to run", default="serving_default"),),
    settings=(
        OptionSpec(
            name="xla",
            help="compile the whole model with XLA when it is opened; false runs it operation by operation",
            default=True,
            choices=(True, False),
        ),
        OptionSpec(
            name="tf32",
            help="let the GPU round float32 factors to TensorFloat-32; faster, and the numbers depend on the device",
            default=False,
            choices=(True, False),
        ),
    ),
    help="TensorFlow SavedModel with XLA on CUDA devices; on CPU only where a configuration names it.",
)

CONVERTER = ConverterSpec(
    name="savedmodel",
    artifact_format="savedmodel",
    precisions=("fp32", "fp16"),
    convert=_convert,
    help="Keras to SavedModel; fp16 stores and computes in half precision between float32 borders.",
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``gpu`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """The ``savedmodel`` converter."""
    return (CONVERTER,)
