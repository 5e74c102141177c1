"""Streams over several interpreters: as one run after another, whatever goes wrong on the way."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time

import numpy as np
import pytest

from edgeai.api import InferenceFailed, SessionClosed, TensorMismatch
from edgeai.testing.conformance import ArtifactExample, BackendConformance
from edgeai_tflite import BACKEND
from edgeai_tflite.engine import MOST_UNASKED, available_cores


@pytest.fixture
def many(open_artifact, specs):
    """The classifier of any batch, with three interpreters in a stream."""
    return open_artifact("any_batch.tflite", (specs.images,), (specs.many,), threads=3)


def _images(golden, count):
    """As many different images; each a batch of its own size, so that answers that changed places show."""
    known = golden("classifier")["image"]
    return [{"image": np.repeat(known[i % 4 : i % 4 + 1] * (1 + i / count), 1 + i % 5, axis=0)} for i in range(count)]


def _take(got, stream):
    for outputs in stream:
        got.append(outputs)  # one by one: what came before an error counts


def _engine_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("edgeai-tflite")]


def test_answers_come_in_order_and_are_those_of_runs_to_the_last_bit(many, golden):
    images = _images(golden, 60)
    wanted = [many.run(image)["probabilities"] for image in images]
    for _ in range(3):
        got = [outputs["probabilities"] for outputs in many.stream(iter(images))]
        assert len(got) == len(wanted)
        for own, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(own, other)


def test_several_interpreters_are_at_work_at_once(many, golden, monkeypatch):
    from edgeai_tflite.session import Lane

    together = threading.Barrier(3, timeout=240)
    usual = Lane.run

    def met(self, inputs):
        together.wait()  # breaks unless three runs are under way at the same time
        return usual(self, inputs)

    monkeypatch.setattr(Lane, "run", met)
    assert len(list(many.stream(_images(golden, 12)))) == 12


def test_a_host_may_use_its_buffer_again(many, golden):
    known = golden("classifier")["image"]
    buffer = np.empty_like(known[:1])

    def images():
        for index in range(40):
            buffer[...] = known[index % 4]
            yield {"image": buffer}

    got = np.concatenate([outputs["probabilities"] for outputs in many.stream(images())])
    np.testing.assert_allclose(got, golden("classifier")["probabilities"][np.arange(40) % 4], atol=1e-5)


def test_an_endless_stream_is_taken_in_little_by_little(many, golden):
    taken = itertools.count()
    images = (image for image in itertools.cycle(_images(golden, 7)) if next(taken) >= 0)
    stream = many.stream(images)
    for _ in range(20):
        next(stream)
    stream.close()
    assert next(taken) <= 20 + 2 * 3


def test_an_error_of_the_feed_comes_after_what_is_owed(many, golden):
    def images():
        yield from _images(golden, 5)
        raise LookupError("no sixth image")

    got = []
    with pytest.raises(LookupError, match="no sixth image"):
        _take(got, many.stream(images()))
    assert len(got) == 5
    assert not _engine_threads()


@pytest.mark.parametrize("wrong", [{}, {"image": [[0.0]]}, {"image": np.zeros((1, 16, 17, 1), "float32")}])
def test_a_wrong_input_comes_after_what_is_owed_and_the_session_survives(many, golden, wrong):
    images = _images(golden, 8)
    got = []
    with pytest.raises(TensorMismatch):
        _take(got, many.stream([*images[:4], wrong, *images[4:]]))
    assert len(got) == 4
    assert len(list(many.stream(images))) == 8


def test_an_inference_that_fails_is_named_in_its_turn(many, golden):
    images = _images(golden, 8)
    # The shapes fit and the memory does not.
    huge = {"image": np.broadcast_to(images[0]["image"][:1], (2**40, 16, 16, 1))}
    got = []
    with pytest.raises(InferenceFailed, match=BACKEND.engine().split()[0]):
        _take(got, many.stream([*images[:5], huge, *images[5:]]))
    assert len(got) == 5
    assert len(list(many.stream(images))) == 8


def test_a_session_closed_in_the_middle_says_so_and_leaves_no_thread(many, golden):
    stream = many.stream(_images(golden, 20))
    next(stream)
    many.close()
    many.close()
    with pytest.raises(SessionClosed):
        next(stream)
    with pytest.raises(SessionClosed):
        many.stream(_images(golden, 1))
    assert not _engine_threads()


def test_inputs_that_wait_for_an_interpreter_when_it_is_closed_do_not_wait_for_ever(many, golden, monkeypatch):
    from edgeai_tflite.session import Lane

    may_end, usual, count = threading.Event(), Lane.run, itertools.count()

    def held(self, inputs):
        if next(count) > 0:
            may_end.wait(240)
        return usual(self, inputs)

    monkeypatch.setattr(Lane, "run", held)
    stream = many.stream(_images(golden, 20))
    next(stream)  # two or three are at work now, and others wait
    many.close()
    may_end.set()
    time.sleep(0.3)  # those that waited have had their turn before anybody asks for an answer
    with pytest.raises(SessionClosed):
        next(stream)
    assert not _engine_threads()


def test_a_stream_left_alone_leaves_no_thread_and_the_session_usable(many, golden):
    images = _images(golden, 20)
    stream = many.stream(images)
    first = next(stream)["probabilities"]
    np.testing.assert_array_equal(many.run(images[0])["probabilities"], first)  # in the middle of it
    stream.close()
    assert not _engine_threads()
    other = many.stream(images)
    next(other)
    del other
    gc.collect()
    assert not _engine_threads()
    assert len(list(many.stream(images))) == 20


def test_a_thread_that_the_system_refuses_is_told_as_it_is(many, golden, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            list(many.stream(_images(golden, 3)))
    assert len(list(many.stream(_images(golden, 8)))) == 8


def test_interpreters_are_opened_as_needed_and_never_more_than_asked_for(open_artifact, specs, golden, monkeypatch):
    from edgeai_tflite import opening

    opened = []
    usual = opening._another
    monkeypatch.setattr(opening, "_another", lambda *given: opened.append(1) or usual(*given))
    session = open_artifact("any_batch.tflite", (specs.images,), (specs.many,), threads=3)
    session.run(_images(golden, 1)[0])
    assert len(opened) == 0
    list(session.stream(_images(golden, 1)))
    assert len(opened) == 1
    for _ in range(5):
        list(session.stream(_images(golden, 30)))
    assert len(opened) == 3


def test_one_thread_is_one_interpreter_and_none_asked_for_is_one_a_core(open_artifact, specs, golden):
    model = "any_batch.tflite", (specs.images,), (specs.many,)
    assert open_artifact(*model, threads=1)._fleet.most == 1
    assert open_artifact(*model, threads=0)._fleet.most == min(available_cores(), MOST_UNASKED)


def test_the_artifact_may_be_replaced_while_the_session_runs_on(open_artifact, specs, golden, artifacts, tmp_path):
    copy = tmp_path / "model.tflite"
    copy.write_bytes((artifacts / "any_batch.tflite").read_bytes())
    session = open_artifact(copy, (specs.images,), (specs.many,), threads=2)
    other = tmp_path / "other"
    other.write_bytes(b"not a model at all")
    other.replace(copy)  # as an update does
    images = _images(golden, 9)
    wanted = [session.run(image)["probabilities"] for image in images]
    for own, outputs in zip(wanted, session.stream(images), strict=True):
        np.testing.assert_array_equal(outputs["probabilities"], own)


def test_closing_lets_go_of_the_file(open_artifact, specs, golden, artifacts, tmp_path):
    copy = tmp_path / "model.tflite"
    copy.write_bytes((artifacts / "any_batch.tflite").read_bytes())
    session = open_artifact(copy, (specs.images,), (specs.many,), threads=2)
    assert _open_files(copy)
    list(session.stream(_images(golden, 4)))
    session.close()
    assert not _open_files(copy)


def _open_files(path):
    numbers = []
    for number in os.listdir("/proc/self/fd"):
        try:
            numbers += [number] if os.readlink(f"/proc/self/fd/{number}") == str(path) else []
        except OSError:  # the listing's own
            continue
    return numbers


class TestStreamsOverSeveral(BackendConformance):
    """All that every backend is held to, with streams over two interpreters."""

    plugin = "tflite"
    backend = "tflite"
    engine_modules = ("ai_edge_litert", "tflite_runtime")

    @pytest.fixture(scope="class")
    @classmethod
    def example(cls, artifacts, specs, golden):
        known = golden("classifier")
        cases = tuple(
            ({"image": known["image"][n : n + 1]}, {"probabilities": known["probabilities"][n : n + 1]})
            for n in range(2)
        )
        path = artifacts / "classifier.tflite"
        return ArtifactExample(
            path=path, inputs=(specs.image,), outputs=(specs.probabilities,), golden=cases, threads=2
        )
