"""The ``gpu`` plugin of edgeai: TensorFlow with XLA on CUDA devices, and the converter from Keras.

Importing this module imports no engine; each callable does when it is called.
"""

from __future__ import annotations

from edgeai.api import BackendSpec, ConverterSpec, ModelFiles, OptionSpec, hookimpl, late

EDGEAI_API = (1, 3)

BACKEND = BackendSpec(
    name="gpu",
    artifact_format="savedmodel",
    probe=late("edgeai_gpu.engine:probe"),
    open=late("edgeai_gpu.opening:open_session"),
    engine=late("edgeai_gpu.engine:describe"),
    explain=late("edgeai_gpu.engine:explain"),
    describe=late("edgeai_gpu.describing:describe_tensors"),
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
    rank=30,
    files=ModelFiles(called="a SavedModel folder", folder=("saved_model.pb", "variables", "assets")),
    install="pip install edgeai-gpu",
    libraries=("tensorflow",),
)

CONVERTER = ConverterSpec(
    name="savedmodel",
    artifact_format="savedmodel",
    precisions=("fp32", "fp16"),
    convert=late("edgeai_gpu.convert:convert", extra="edgeai-gpu[build]"),
    help="Keras to SavedModel; fp16 stores and computes in half precision between float32 borders.",
    libraries=("tensorflow",),
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``gpu`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """The ``savedmodel`` converter."""
    return (CONVERTER,)
