"""The fakes misbehave when they are told to, and only then: what the system tests lean on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeai.api import ModelRejected, OpenRequest, PluginFault, TensorSpec
from edgeai.plugins import PluginInfo, load_from
from edgeai.testing.distributions import write_fake_distribution, write_fakes
from edgeai.testing.fakes import WAYS, Misbehaviour, answer_of, write_fake_artifact

INPUTS = (TensorSpec(name="image", dtype="float32", shape=(1, 4)),)
OUTPUTS = (TensorSpec(name="probabilities", dtype="float32", shape=(1, 2)),)
FAKES = {spec.name: spec for spec in load_from(PluginInfo("fakes", "edgeai.testing.fakes_plugin", "", "")).backends}

CHILD = """
import sys, numpy
from pathlib import Path
from edgeai.api import OpenRequest, TensorSpec
from edgeai.plugins import Registry
assert 'pytest' not in sys.modules
inputs = (TensorSpec(name="image", dtype="float32", shape=(1, 4)),)
outputs = (TensorSpec(name="probabilities", dtype="float32", shape=(1, 2)),)
backend = Registry.of(["fakes"]).backends["fake-works"]
session = backend.open(OpenRequest(artifact=Path(sys.argv[1]), device="CPU", inputs=inputs, outputs=outputs))
for mean in map(float, sys.argv[2:]):
    session.run({"image": numpy.full((1, 4), mean, numpy.float32)})
    print(mean, flush=True)
assert 'pytest' not in sys.modules, "a cart with fakes needs no pytest"
"""


def image(mean: float) -> dict[str, np.ndarray]:
    return {"image": np.full((1, 4), mean, np.float32)}


def session(artifact: Path, backend: str = "fake-works"):
    return FAKES[backend].open(OpenRequest(artifact=artifact, device="CPU", inputs=INPUTS, outputs=OUTPUTS))


def poisonous(tmp_path: Path, **how: object) -> Path:
    return write_fake_artifact(tmp_path / "model.json", INPUTS, OUTPUTS, misbehave=Misbehaviour(**how))


@pytest.mark.slow
def test_one_image_kills_the_process_and_others_do_not(tmp_path):
    write_fakes(tmp_path / "site")
    artifact = poisonous(tmp_path, how="abort", mean_above=0.9)
    path = os.pathsep.join([str(tmp_path / "site"), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(artifact), "0.1", "0.9", "0.95", "0.2"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.split() == ["0.1", "0.9"], done.stderr
    assert done.returncode == -signal.SIGABRT
    fine = subprocess.run(
        [sys.executable, "-c", CHILD, str(artifact), "0.1", "0.2"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert fine.returncode == 0, fine.stderr


def test_a_flag_turns_it_on_and_off(tmp_path):
    flag = tmp_path / "flag"
    opened = session(poisonous(tmp_path, how="raise", flag=str(flag)))
    opened.run(image(0.5))
    flag.touch()
    with pytest.raises(PluginFault):
        opened.run(image(0.5))
    flag.unlink()
    opened.run(image(0.5))


def test_so_many_times_and_then_no_more(tmp_path):
    (tmp_path / "times").write_bytes(b"xx")
    opened = session(poisonous(tmp_path, how="raise", times_file=str(tmp_path / "times")))
    for _ in range(2):
        with pytest.raises(PluginFault):
            opened.run(image(0.5))
    opened.run(image(0.5))


def test_it_can_fail_when_opened(tmp_path):
    with pytest.raises(PluginFault, match="open: ZeroDivisionError"):
        session(poisonous(tmp_path, how="raise", at="open"))


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("wrong-shape", lambda got: got["probabilities"].shape == (1, 3)),
        ("wrong-dtype", lambda got: got["probabilities"].dtype == np.float64),
        ("wrong-names", lambda got: set(got) == {"probabilities_0"}),
        ("nan", lambda got: np.isnan(got["probabilities"]).all()),
        ("zeros", lambda got: not got["probabilities"].any()),
    ],
)
def test_a_lie_is_the_lie_that_was_asked_for(tmp_path, how, wrong):
    artifact = poisonous(tmp_path, how=how, mean_above=0.5)
    opened = session(artifact)
    assert wrong(opened.run(image(0.6)))
    assert not wrong(opened.run(image(0.4)))
    assert wrong(session(write_fake_artifact(tmp_path / "fine.json", INPUTS, OUTPUTS), f"fake-{how}").run(image(0.4)))


def test_the_answer_is_known(tmp_path):
    artifact = write_fake_artifact(tmp_path / "model.json", INPUTS, OUTPUTS)
    got = session(artifact).run(image(0.75))["probabilities"]
    first = 1 / (1 + np.exp(-2.0))  # softmax(4 * 0.75 - 2, -4 * 0.75 + 2)
    np.testing.assert_allclose(got, [[first, 1 - first]], atol=1e-6)
    np.testing.assert_array_equal(got, answer_of(artifact, 0.75, OUTPUTS[0]))


def test_an_unknown_way_is_not_taken_for_good_behaviour():
    with pytest.raises(ValueError, match="explode"):
        Misbehaviour(how="explode")
    assert "explode" not in WAYS


def test_only_a_fake_artifact_is_opened(tmp_path):
    other = tmp_path / "model.json"
    other.write_text('{"format": "fake", "inputs": []}')
    with pytest.raises(ModelRejected):
        session(other)
    write_fake_artifact(other, OUTPUTS, OUTPUTS)
    with pytest.raises(ModelRejected, match="declares"):
        session(other)


def test_a_distribution_is_not_written_over(tmp_path):
    write_fake_distribution(tmp_path, name="acme", module_source="")
    with pytest.raises(FileExistsError):
        write_fake_distribution(tmp_path, name="acme", module_source="")
