"""The reader that every converter begins with: what it refuses, and that a device needs none of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeai.api import ConversionFailed, ConvertRequest, TensorSpec
from edgeai_keras.model_file import check, structure_of, tensor_names

IMAGE = TensorSpec(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
SCORES = TensorSpec(name="scores", dtype="float32", shape=(1, 2), layout="NC")


def _request(tmp_path: Path, **changes: object) -> ConvertRequest:
    (tmp_path / "out").mkdir(exist_ok=True)
    usual = {"model": tmp_path / "m.keras", "output": tmp_path / "out", "precision": "fp32"}
    return ConvertRequest(**{**usual, "inputs": (IMAGE,), "outputs": (SCORES,), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"precision": "int4"}, {"inputs": (TensorSpec(name="an image", dtype="float32", shape=(1, 8, 8, 1)),)}],
)
def test_a_request_that_cannot_be_met_is_refused_before_tensorflow_is_loaded(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ConversionFailed) as refused:
        check(_request(tmp_path, **changes), "mine", precisions=("fp32",))
    assert refused.value.code.startswith("convert.")
    assert refused.value.remedy


@pytest.mark.parametrize("plugin", ["edgeai_tflite", "edgeai_openvino", "edgeai_gpu"])
def test_without_this_distribution_a_converter_says_what_to_install(plugin: str) -> None:
    """As on a device, where the extra [build] is not installed."""
    code = (
        "import sys; sys.modules['edgeai_keras'] = None\n"
        f"import {plugin} as plugin\n"
        "from edgeai.api import ConversionFailed\n"
        "try: plugin.edgeai_converters()[0].convert(None)\n"
        "except ConversionFailed as error: print(error.code, error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("convert.engine-missing pip install")
    assert plugin.replace("_", "-") in done.stdout


def test_a_sequential_model_has_names_and_a_structure_as_any_other() -> None:
    """Keras' own ``Sequential.input`` raises: it says that the model was never called."""
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,), name="numbers"), keras.layers.Dense(3, name="scores")])
    assert tensor_names(model, "input") == ["numbers"]
    assert tensor_names(model, "output") == ["scores"]
    assert structure_of(model, "input") is model.inputs[0]
    assert tensor_names(keras.Sequential([keras.layers.Dense(3)]), "input") == []
