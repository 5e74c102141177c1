"""The ``openvino`` plugin of edgeai: OpenVINO as a backend, and the converter from Keras.

Importing this module imports no engine; each callable does when it is called.
"""

from __future__ import annotations

from edgeai.api import BackendSpec, ConverterSpec, ModelFiles, OptionSpec, hookimpl, late

EDGEAI_API = (1, 3)

BACKEND = BackendSpec(
    name="openvino",
    artifact_format="openvino",
    probe=late("edgeai_openvino.engine:probe"),
    open=late("edgeai_openvino.opening:open_session"),
    engine=late("edgeai_openvino.engine:describe"),
    explain=late("edgeai_openvino.engine:explain"),
    describe=late("edgeai_openvino.describing:describe_tensors"),
    caution=late("edgeai_openvino.processor:caution"),
    settings=(
        OptionSpec(
            name="hint",
            help="what the engine optimises for: one frame soon (latency) or many frames (throughput);"
            " auto compiles for the first, and on a CPU for the second too when an instance has many frames",
            default="auto",
            choices=("auto", "latency", "throughput"),
        ),
        OptionSpec(
            name="precision",
            help="arithmetic on CPU and GPU; auto leaves it to the device, and a CPU with bfloat16 then takes that",
            default="f32",
            choices=("f32", "f16", "bf16", "auto"),
        ),
        OptionSpec(
            name="requests",
            help="inferences in flight in a stream, 1 to 64; 0 takes the engine's own number, at least 2",
            default=0,
        ),
    ),
    help="OpenVINO IR on Intel CPUs, GPUs and NPUs (and other CPUs).",
    rank=20,
    files=ModelFiles(
        called="an OpenVINO .xml",
        suffix=".xml",
        beside=(".bin",),
        made_from={".onnx": "first make it an OpenVINO IR: ovc {name}; then edgeai pack {stem}.xml"},
    ),
    install="pip install edgeai-openvino openvino",
    libraries=("openvino",),
)

CONVERTER = ConverterSpec(
    name="openvino",
    artifact_format="openvino",
    precisions=("fp32", "fp16", "int8"),
    convert=late("edgeai_openvino.convert:convert", extra="edgeai-openvino[build]"),
    calibrated=("int8",),
    options=(
        OptionSpec(
            name="preset",
            help="activations of int8: symmetric ranges (performance), or asymmetric ones where they are not (mixed)",
            default="performance",
            choices=("performance", "mixed"),
        ),
        OptionSpec(
            name="ranges",
            help="of activations in int8: the extremes of all samples (min-max), or the mean of each sample's (mean)",
            default="min-max",
            choices=("min-max", "mean"),
        ),
        OptionSpec(
            name="overflow_fix",
            help="where int8 weights have half the range, so that sums cannot overflow on a CPU without VNNI:"
            " first-layer and none are for whoever knows that every cart has VNNI",
            default="all",
            choices=("all", "first-layer", "none"),
        ),
        OptionSpec(
            name="model_type",
            help="what NNCF should know of the model; transformer for attention",
            default="",
            choices=("", "transformer"),
        ),
        OptionSpec(
            name="fast_bias_correction",
            help="correct biases layer by layer; false takes longer and is more accurate",
            default=True,
            choices=(True, False),
        ),
        OptionSpec(name="keep_float", help="names of Keras layers that int8 leaves in float", default=()),
        OptionSpec(
            name="max_float_layers",
            help="how many more operations int8 may leave in float so that the score's drop holds",
            default=8,
        ),
    ),
    help="Keras to OpenVINO IR (.xml and .bin); inputs and outputs are float32 in every precision.",
    first_try=("fp32", "fp16", "int8"),
    libraries=("openvino", "nncf"),
)


@hookimpl
def edgeai_backends() -> tuple[BackendSpec, ...]:
    """The ``openvino`` backend."""
    return (BACKEND,)


@hookimpl
def edgeai_converters() -> tuple[ConverterSpec, ...]:
    """The ``openvino`` converter."""
    return (CONVERTER,)
