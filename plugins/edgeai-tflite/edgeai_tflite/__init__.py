"""The ``tflite`` plugin of edgeai: LiteRT or tflite-runtime as a backend, and the converter from Keras.

Importing this module imports no engine; each callable does when it is called.
"""

from __future__ import annotations

from edgeai.api import BackendSpec, ConverterSpec, ModelFiles, OptionSpec, hookimpl, late

EDGEAI_API = (1, 3)

BACKEND = BackendSpec(
    name="tflite",
    artifact_format="tflite",
    probe=late("edgeai_tflite.engine:probe"),
    open=late("edgeai_tflite.opening:open_session"),
    engine=late("edgeai_tflite.engine:describe"),
    explain=late("edgeai_tflite.engine:explain"),
    describe=late("edgeai_tflite.describing:describe_tensors"),
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
    rank=10,
    files=ModelFiles(called="a .tflite file", suffix=".tflite"),
    install="pip install 'edgeai-tflite[litert]'",
    libraries=("ai-edge-litert", "tflite-runtime"),
)

CONVERTER = ConverterSpec(
    name="tflite",
    artifact_format="tflite",
    precisions=("fp32", "fp16", "dynamic", "int8", "int16x8"),
    convert=late("edgeai_tflite.convert:convert", extra="edgeai-tflite[build]"),
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
        OptionSpec(
            name="correct_bias",
            help="int8 and int16x8 put the mean error of the last layers into their biases",
            default=False,
            choices=(True, False),
        ),
    ),
    help="Keras to TensorFlow Lite; inputs and outputs are float32 in every precision.",
    first_try=("fp32", "fp16", "dynamic", "int8"),
    libraries=("tensorflow", "litert-quantizer"),
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``tflite`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """The ``tflite`` converter."""
    return (CONVERTER,)
