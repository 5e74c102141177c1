"""What a stream is compiled for, and that it answers as runs do."""

from __future__ import annotations

import numpy as np
import pytest

from edgeai.api import SessionClosed, TensorMismatch


@pytest.fixture
def open_classifier(open_artifact, specs):
    """``open_classifier(threads=2, settings=...)`` -> the classifier on the CPU."""

    def opened(**more):
        return open_artifact("classifier", (specs.image,), (specs.probabilities,), **more)

    return opened


def _images(golden, count):
    known = golden("classifier")["image"]
    return [{"image": known[i % 4 : i % 4 + 1] * (1 + i / count)} for i in range(count)]


def _hint(compiled):
    return str(compiled.model.get_property("PERFORMANCE_HINT"))


@pytest.mark.parametrize("threads", [0, 1, 2, 3])
def test_answers_come_in_order_and_are_those_of_runs(open_classifier, golden, threads):
    session = open_classifier(threads=threads)
    images = _images(golden, 40)
    wanted = [session.run(image)["probabilities"] for image in images]
    for _ in range(2):
        got = [outputs["probabilities"] for outputs in session.stream(iter(images))]
        assert len(got) == len(wanted)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-7)


def test_many_frames_are_compiled_for_when_a_second_comes_and_once(open_classifier, golden):
    session = open_classifier(threads=2)
    session.run(_images(golden, 1)[0])
    list(session.stream(_images(golden, 1)))
    assert session._abreast is None
    list(session.stream(_images(golden, 2)))
    compiled = session._abreast
    assert (_hint(session._compiled), _hint(compiled)) == ("LATENCY", "THROUGHPUT")
    assert compiled.model.get_property("INFERENCE_NUM_THREADS") == 2
    list(session.stream(_images(golden, 9)))
    assert session._abreast is compiled
    assert len(compiled.idle) <= compiled.flight


@pytest.mark.parametrize(
    ("threads", "settings"), [(1, {}), (2, {"hint": "latency"}), (2, {"hint": "throughput"}), (1, {"hint": "auto"})]
)
def test_nothing_is_compiled_twice_where_it_was_not_asked_for(open_classifier, golden, threads, settings):
    session = open_classifier(threads=threads, settings=settings)
    list(session.stream(_images(golden, 9)))
    assert session._abreast is None
    assert _hint(session._compiled) == settings.get("hint", "latency").replace("auto", "latency").upper()


def test_a_wrong_input_comes_after_what_is_owed_and_the_session_survives(open_classifier, golden):
    session = open_classifier(threads=2)
    images = _images(golden, 8)
    got = []
    with pytest.raises(TensorMismatch):
        _take(got, session.stream([*images[:5], {"image": images[0]["image"][0]}, *images[5:]]))
    assert len(got) == 5
    assert len(list(session.stream(images))) == 8


def test_a_session_closed_in_the_middle_says_so(open_classifier, golden):
    session = open_classifier(threads=2)
    stream = session.stream(_images(golden, 20))
    next(stream)
    session.close()
    with pytest.raises(SessionClosed):
        next(stream)
    with pytest.raises(SessionClosed):
        session.stream(_images(golden, 2))


def test_a_stream_left_alone_gives_its_places_back(open_classifier, golden):
    session = open_classifier(threads=2)
    images = _images(golden, 30)
    for _ in range(4):
        stream = session.stream(images)
        first = next(stream)["probabilities"]
        np.testing.assert_array_equal(session.run(images[0])["probabilities"], first)  # in the middle of it
        stream.close()
    assert len(session._abreast.idle) <= session._abreast.flight
    assert len(list(session.stream(images))) == 30


def _take(got, stream):
    for outputs in stream:
        got.append(outputs)  # one by one: what came before an error counts
