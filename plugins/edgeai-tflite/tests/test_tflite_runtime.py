"""The same backend tests under tflite-runtime, in the Python that it needs (3.11 or older, numpy < 2).

``EDGEAI_TFLITE_RUNTIME_PYTHON`` names that interpreter; it needs tflite-runtime, numpy, pluggy and pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import edgeai
import edgeai_tflite
from edgeai.testing.require import require

HERE = Path(__file__).resolve().parent
_NEEDS = "import numpy, pluggy, pytest, tflite_runtime.interpreter as t; print(t.__file__)"


@pytest.fixture(scope="module")
def other_python() -> str:
    """The interpreter that has tflite-runtime."""
    python = os.environ.get("EDGEAI_TFLITE_RUNTIME_PYTHON", "")
    works = bool(python) and Path(python).exists()
    if works:
        asked = subprocess.run([python, "-c", _NEEDS], capture_output=True, text=True, timeout=600, check=False)
        works = asked.returncode == 0
    require("tflite-runtime", works, "set EDGEAI_TFLITE_RUNTIME_PYTHON to a Python with tflite-runtime and pytest")
    return python


@pytest.fixture(scope="module")
def environment(artifacts) -> dict[str, str]:
    """This process's environment, with edgeai, the plugin and the converted artifacts to be found."""
    folders = [Path(package.__path__[0]).parent for package in (edgeai, edgeai_tflite)]
    return {
        **{key: value for key, value in os.environ.items() if key != "EDGEAI_REQUIRE"},
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in folders),
        "EDGEAI_TFLITE_ARTIFACTS": str(artifacts),
        "EDGEAI_TFLITE_ENGINE": "tflite-runtime",
    }


def test_the_backend_tests_pass_on_tflite_runtime(other_python, environment, tmp_path):
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n")
    command = [other_python, "-m", "pytest", "-q", "-rs", "-c", str(settings), "--import-mode=importlib"]
    command += ["-p", "no:cacheprovider", str(HERE / "test_backend.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-6000:]
    passed = re.search(r"(\d+) passed", printed)
    assert passed, printed
    assert int(passed[1]) >= 40, printed[-2000:]


def test_auto_takes_what_is_installed(other_python, environment):
    code = "from edgeai_tflite import BACKEND; print(BACKEND.engine())"
    done = subprocess.run(
        [other_python, "-c", code], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    assert re.fullmatch(r"tflite-runtime 2\.\d+\.\d+\n", done.stdout)


def test_the_engine_that_is_not_installed_is_named(other_python, environment, artifacts):
    code = f"""
from pathlib import Path
from edgeai.api import BackendUnavailable, OpenRequest
from edgeai_tflite import BACKEND
try:
    artifact = Path({str(artifacts / "classifier.tflite")!r})
    BACKEND.open(OpenRequest(artifact=artifact, device="CPU", inputs=(), outputs=(), settings={{"engine": "litert"}}))
except BackendUnavailable as error:
    print(error.code, error, error.remedy)
"""
    done = subprocess.run(
        [other_python, "-c", code], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.startswith("backend.engine-missing tflite: litert is not installed")
    assert "pip install" in done.stdout


def test_integers_are_opened_too(other_python, environment, keras_models, specs, calibration, golden, tmp_path):
    from edgeai.api import ConvertRequest
    from edgeai_tflite import CONVERTER

    request = ConvertRequest(
        model=keras_models / "classifier.keras",
        output=tmp_path,
        precision="int8",
        inputs=(specs.image,),
        outputs=(specs.probabilities,),
        calibration=lambda: calibration,
    )
    code = f"""
import numpy as np
from pathlib import Path
from edgeai.api import OpenRequest, TensorSpec
from edgeai_tflite import BACKEND
session = BACKEND.open(OpenRequest(
    artifact=Path({str(CONVERTER.convert(request).artifact)!r}), device="CPU",
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 16, 16, 1)),),
    outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 3)),)))
with np.load({str(keras_models / "classifier.npz")!r}) as known:
    found = session.run({{"image": known["image"][:1]}})["probabilities"]
    print(np.abs(found - known["probabilities"][:1]).max())
"""
    done = subprocess.run(
        [other_python, "-c", code], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    assert float(done.stdout) < 0.03
