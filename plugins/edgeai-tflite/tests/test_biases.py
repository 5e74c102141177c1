"""Biases that int32 cannot hold, and biases that take the mean error away, of a finished file without TensorFlow."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgeai.testing.keras_models import calibration_samples
from edgeai.testing.require import require
from edgeai_tflite import BACKEND, quantise
from edgeai_tflite.biases import mend
from edgeai_tflite.correction import correct, last_with_bias
from edgeai_tflite.graph import Graph
from edgeai_tflite.inner import Tensors

EXAMPLES = Path(__file__).with_name("examples")
SAMPLES = calibration_samples(12)
OTHERS = calibration_samples(24)[12:]
DEAD, BIAS = 2, 1.5
ANSWER = "StatefulPartitionedCall:0"


@pytest.fixture(scope="module", autouse=True)
def _quantiser():
    require("tflite", bool(BACKEND.probe()), BACKEND.explain())
    require("tensorflow", importlib.util.find_spec("litert_quantizer") is not None, "needs edgeai-tflite[build]")


@pytest.fixture(scope="module")
def classifier():
    return (EXAMPLES / "classifier.tflite").read_bytes()


@pytest.fixture(scope="module")
def dying(classifier):
    """The classifier, of whose first layer one channel has no weights any more and answers its bias everywhere."""
    graph = Graph(classifier)
    first = graph.operators[0]
    weights, bias = graph.values(graph.kernel(first)).copy(), graph.values(graph.bias(first)).copy()
    weights[DEAD], bias[DEAD] = 0, BIAS
    graph.put(graph.kernel(first), weights)
    graph.put(graph.bias(first), bias)
    return graph.content()


def _static(content, bits=8):
    model = quantise.FloatModel(content)
    model.calibrate(SAMPLES, activation_bits=bits)
    return model.static(bits)


def _biases(content, name):
    """Of the operation that gives a tensor, in the units of what it gives."""
    graph = Graph(content)
    bias = graph.bias(graph.producer(name))
    return graph.values(bias) * graph.scales(bias)


def _mean(content):
    tensors, answers = Tensors(content), []
    for sample in OTHERS:
        tensors.run(sample)
        answers.append(tensors.value(ANSWER))
    return np.mean(answers, axis=(0, 1))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_channel_without_weights_keeps_its_bias(dying, bits, monkeypatch):
    graph = Graph(dying)
    first = graph.operators[0]
    wanted = graph.values(graph.bias(first))
    np.testing.assert_allclose(_biases(_static(dying, bits), graph.name(first)), wanted, atol=1e-3)
    monkeypatch.setattr(quantise, "mend", lambda content, model: content)
    assert abs(_biases(_static(dying, bits), graph.name(first))[DEAD]) < 0.01 * BIAS


def test_the_other_channels_stay_as_they_are(dying, monkeypatch):
    mended = Graph(_static(dying))
    monkeypatch.setattr(quantise, "mend", lambda content, model: content)
    plain = Graph(_static(dying))
    others = [channel for channel in range(8) if channel != DEAD]
    name = Graph(dying).name(Graph(dying).operators[0])
    kernels = [graph.kernel(graph.producer(name)) for graph in (mended, plain)]
    weights = [graph.values(kernel) for graph, kernel in zip((mended, plain), kernels, strict=True)]
    steps = [graph.scales(kernel) for graph, kernel in zip((mended, plain), kernels, strict=True)]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(steps[0][others], steps[1][others])
    assert steps[0][DEAD] > 1000 * steps[1][DEAD]


def test_what_was_not_clipped_keeps_its_bytes(classifier, dying):
    plain, mended = _static(classifier), _static(dying)
    assert mend(plain, classifier) is plain
    assert mend(mended, dying) is mended


def test_a_mean_error_goes_into_the_last_bias(classifier):
    (name,) = last_with_bias(Graph(classifier))
    graph = Graph(_static(classifier))
    bias = graph.bias(graph.producer(name))
    graph.put(bias, graph.values(bias) + np.rint(0.5 / graph.scales(bias)))
    shifted = graph.content()
    corrected, changes = correct(shifted, classifier, SAMPLES)
    assert changes.keys() == {name}
    assert 0.3 < changes[name] < 0.6
    wanted = _mean(classifier)
    before, after = (np.abs(_mean(content) - wanted).max() for content in (shifted, corrected))
    assert after < before / 3
    assert correct(shifted, classifier, SAMPLES)[0] == corrected


def test_a_last_layer_that_stayed_in_float_is_corrected_too(classifier):
    graph = Graph(classifier)
    (name,) = last_with_bias(graph)
    bias = graph.bias(graph.producer(name))
    graph.put(bias, graph.values(bias) + np.float32(0.5))
    shifted = graph.content()
    corrected, changes = correct(shifted, classifier, SAMPLES)
    assert 0.3 < changes[name] < 0.6
    wanted = _mean(classifier)
    before, after = (np.abs(_mean(content) - wanted).max() for content in (shifted, corrected))
    assert after < before / 2  # not all of it: the ReLU behind it hides some


def test_a_model_without_a_bias_stays_as_it_is():
    content = (EXAMPLES / "stateful.tflite").read_bytes()
    assert last_with_bias(Graph(content)) == []
    corrected, changes = correct(content, content, SAMPLES)
    assert corrected is content
    assert not changes
