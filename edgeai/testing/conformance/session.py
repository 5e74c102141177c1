"""What the host relies on in a session: its outputs, its refusals, its streams, its memory."""

from __future__ import annotations

import gc
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeai.api import (
    Array,
    BackendSpec,
    Device,
    OpenRequest,
    Session,
    SessionClosed,
    TensorMismatch,
    Tensors,
    check_tensors,
)
from edgeai.testing.conformance.suite import Suite, needs, since
from edgeai.testing.examples import ArtifactExample
from edgeai.testing.require import require

_NEVER_SEEN = ("", "NO-SUCH-DEVICE", "GPU", "GPU.7", "NPU", "TPU", "CUDA:7", "cpu ")


class SessionRules(Suite):
    """The rules of an open session; ``BackendConformance`` adds those of probing and opening."""

    kind: ClassVar[str] = "backend"
    backend: ClassVar[str] = ""
    devices: ClassVar[tuple[str, ...]] = ()
    memory_runs: ClassVar[int] = 400
    memory_growth_bytes: ClassVar[int] = 1 << 20
    in_flight: ClassVar[int] = 64

    def artifact(self, folder: Path) -> ArtifactExample:
        """Write a small artifact below ``folder`` (or point at one), and say what it answers."""
        needs("artifact(folder), a small artifact with what it answers")

    # --- fixtures: an author may override these instead, when the artifact needs other fixtures

    @pytest.fixture
    def example(self, tmp_path_factory: pytest.TempPathFactory) -> ArtifactExample:
        """The example artifact, made once for the class."""
        return self.once("example", lambda: self.artifact(tmp_path_factory.mktemp(f"{self.backend}-artifact")))

    @pytest.fixture
    def present(self) -> tuple[Device, ...]:
        """The devices of this machine; skips (or fails, by ``EDGEAI_REQUIRE``) when there is none."""
        devices = tuple(self.spec.probe())
        chosen = tuple(device for device in devices if not self.devices or device.name in self.devices)
        require(self.backend, bool(chosen), f"backend {self.backend} has no device here: {self.spec.explain()}")
        return chosen

    @pytest.fixture
    def opened(self, example: ArtifactExample, present: tuple[Device, ...]) -> Iterator[Session]:
        """A session on the best device."""
        session = self.open(example, present[0].name)
        yield session
        session.close()

    @property
    def spec(self) -> BackendSpec:
        """The spec under test."""
        spec: BackendSpec = self.any_spec()
        return spec

    def request_for(self, example: ArtifactExample, device: str, **changes: Any) -> OpenRequest:
        """The request that opens the example; ``changes`` by the names of ``OpenRequest``."""
        return example.request(device, **changes)

    def open(self, example: ArtifactExample, device: str, **changes: Any) -> Session:
        """The example, open on a device."""
        return self.spec.open(self.request_for(example, device, **changes))

    # --- running

    @since(1, 0)
    def test_outputs_are_as_declared(self, example: ArtifactExample, opened: Session) -> None:
        """Names, dtypes and shapes of the outputs are those that were declared."""
        check_tensors(example.outputs, opened.run(example.sample()), what="output")

    @since(1, 0)
    def test_agrees_with_golden_vectors(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """On every device, the outputs are the golden ones within the tolerance."""
        if not example.golden:
            needs("golden vectors in the ArtifactExample")
        for device in present:
            session = self.open(example, device.name)
            for inputs, wanted in example.golden:
                assert_close(session.run(inputs), wanted, example.tolerance)
            session.close()

    @since(1, 0)
    def test_golden_vectors_differ(self, example: ArtifactExample) -> None:
        """Two golden cases have different answers, or an engine that always says the same would pass."""
        if len(example.golden) < 2:
            needs("two golden vectors or more in the ArtifactExample")
        answers = [np.concatenate([np.ravel(v) for v in outputs.values()]) for _, outputs in example.golden]
        assert any(np.abs(answers[0] - other).max() > 10 * example.tolerance for other in answers[1:])

    @since(1, 0)
    def test_same_input_same_output(self, example: ArtifactExample, opened: Session) -> None:
        """Running the same input again gives the same output, whatever ran between."""
        first = copy_of(opened.run(example.sample(0)))
        opened.run(example.sample(1))
        assert_close(opened.run(example.sample(0)), first, example.repeat_tolerance)

    @since(1, 0)
    def test_caller_owns_the_outputs(self, example: ArtifactExample, opened: Session) -> None:
        """Outputs stay as they were when the session runs again or closes, and may be written to."""
        kept = opened.run(example.sample(0))
        copy = copy_of(kept)
        opened.run(example.sample(1))
        assert_close(kept, copy, 0.0)
        for array in kept.values():
            array[...] = 0
        assert_close(opened.run(example.sample(0)), copy, example.repeat_tolerance)
        again = opened.run(example.sample(0))
        opened.close()
        gc.collect()
        assert_close(again, copy, example.repeat_tolerance)

    @since(1, 0)
    def test_leaves_its_inputs_alone(self, example: ArtifactExample, opened: Session) -> None:
        """Inputs are not written to, and may be read-only or strided."""
        inputs = example.sample()
        wanted = copy_of(opened.run(inputs))
        assert_close(inputs, example.sample(), 0.0)
        for array in inputs.values():
            array.flags.writeable = False
        assert_close(opened.run(inputs), wanted, example.repeat_tolerance)
        strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in inputs.items() if array.ndim}
        assert_close(opened.run({**inputs, **strided}), wanted, example.repeat_tolerance)

    @since(1, 0)
    @pytest.mark.parametrize("what", ["missing", "surplus", "dtype", "rank", "extent", "not an array"])
    def test_wrong_input_is_refused(self, example: ArtifactExample, opened: Session, what: str) -> None:
        """Inputs that are not those declared are TensorMismatch, and the session goes on as before."""
        wanted = copy_of(opened.run(example.sample()))
        with pytest.raises(TensorMismatch):
            opened.run(_wrong_inputs(example, what))
        assert_close(opened.run(example.sample()), wanted, example.repeat_tolerance)

    # --- streaming

    @since(1, 0)
    def test_stream_equals_run(self, example: ArtifactExample, opened: Session) -> None:
        """Stream gives, in the order of its inputs, what run gives one by one; each output is the caller's."""
        samples = [example.sample(number) for number in range(12)]
        wanted = [copy_of(opened.run(sample)) for sample in samples]
        outputs = list(opened.stream(iter(samples)))
        assert len(outputs) == len(wanted)
        for got, want in zip(outputs, wanted, strict=True):
            check_tensors(example.outputs, got, what="output")
            assert_close(got, want, max(example.repeat_tolerance, 1e-6))

    @since(1, 0)
    def test_stream_is_lazy(self, example: ArtifactExample, opened: Session) -> None:
        """Stream takes inputs as outputs are taken: an endless input does not fill the memory."""
        taken = itertools.count()
        count = 0

        def endless() -> Iterator[Tensors]:
            nonlocal count
            while True:
                count = next(taken) + 1
                yield example.sample(0)

        outputs = opened.stream(endless())
        for _ in range(3):
            next(outputs)
        _close(outputs)
        assert count <= 3 + self.in_flight, f"{count} inputs were taken for 3 outputs"
        check_tensors(example.outputs, opened.run(example.sample()), what="output")

    @since(1, 0)
    def test_empty_stream_is_empty(self, opened: Session) -> None:
        """No inputs, no outputs, no error."""
        assert list(opened.stream([])) == []

    @since(1, 0)
    def test_wrong_input_in_a_stream_is_refused(self, example: ArtifactExample, opened: Session) -> None:
        """A wrong input among right ones is TensorMismatch, and the session goes on as before."""
        wanted = copy_of(opened.run(example.sample()))
        with pytest.raises(TensorMismatch):
            list(opened.stream([example.sample(), _wrong_inputs(example, "missing"), example.sample()]))
        assert_close(opened.run(example.sample()), wanted, example.repeat_tolerance)

    @since(1, 0)
    def test_an_error_of_the_feed_comes_through(self, example: ArtifactExample, opened: Session) -> None:
        """What the host's own iterable raises reaches the host, and the session goes on as before."""

        def breaking() -> Iterator[Tensors]:
            yield example.sample()
            raise LookupError("the host's own")

        with pytest.raises(LookupError, match="the host's own"):
            list(opened.stream(breaking()))
        check_tensors(example.outputs, opened.run(example.sample()), what="output")

    # --- closing, threads, memory

    @since(1, 0)
    def test_close_twice(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """Closing a session that is closed does nothing."""
        session = self.open(example, present[0].name)
        session.close()
        session.close()

    @since(1, 0)
    def test_run_after_close_is_refused(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """Run and stream after close are SessionClosed, not a crash."""
        session = self.open(example, present[0].name)
        session.run(example.sample())
        session.close()
        with pytest.raises(SessionClosed):
            session.run(example.sample())
        with pytest.raises(SessionClosed):
            list(session.stream([example.sample()]))

    @since(1, 0)
    def test_another_thread_may_run(self, example: ArtifactExample, opened: Session) -> None:
        """A session opened in one thread runs in another, with the same answer."""
        wanted = copy_of(opened.run(example.sample()))
        with ThreadPoolExecutor(1) as pool:
            assert_close(pool.submit(opened.run, example.sample()).result(), wanted, example.repeat_tolerance)

    @since(1, 0)
    def test_two_sessions_at_once(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """Two sessions run side by side without hearing of each other; closing one leaves the other."""
        sessions = [self.open(example, present[0].name) for _ in range(2)]
        wanted = [copy_of(sessions[0].run(example.sample(number))) for number in range(2)]
        start = threading.Barrier(2)

        def work(number: int) -> list[Tensors]:
            start.wait()
            return [sessions[number].run(example.sample(number)) for _ in range(20)]

        with ThreadPoolExecutor(2) as pool:
            for number, answers in enumerate(pool.map(work, range(2))):
                for answer in answers:
                    assert_close(answer, wanted[number], example.repeat_tolerance)
        sessions[0].close()
        assert_close(sessions[1].run(example.sample(1)), wanted[1], example.repeat_tolerance)
        sessions[1].close()

    @since(1, 0)
    def test_memory_does_not_grow(self, example: ArtifactExample, opened: Session) -> None:
        """Running many times does not make the process grow.

        After a warm-up, resident memory is read before, between and after two equal halves. Allocators
        take memory in steps (a new arena of glibc is some hundred KiB) and then stop; a leak grows in
        both halves. So it fails only when each half grew by more than ``memory_growth_bytes``: 1 MiB in
        400 runs is 2.6 KiB a run, under the smallest tensor worth the name, and 100 MiB a day at one
        frame a second, which no cart survives.
        """
        sample = example.sample()
        sizes = []
        for _ in range(3):
            for _ in range(self.memory_runs):
                opened.run(sample)
            gc.collect()
            sizes.append(_resident_bytes())
        growth = (sizes[1] - sizes[0], sizes[2] - sizes[1])
        assert min(growth) <= self.memory_growth_bytes, f"grew by {growth} bytes in {self.memory_runs} runs each"


def _wrong_inputs(example: ArtifactExample, what: str) -> dict[str, Any]:
    inputs: dict[str, Any] = example.sample()
    name = example.inputs[0].name
    array = inputs[name]
    match what:
        case "missing":
            del inputs[name]
        case "surplus":
            inputs["no_such_tensor"] = array
        case "dtype":
            inputs[name] = array.astype("float64" if array.dtype != np.float64 else "float32")
        case "rank":
            inputs[name] = array[..., np.newaxis]
        case "extent":
            fixed = [axis for axis, extent in enumerate(example.inputs[0].shape) if extent is not None]
            axis = fixed[-1] if fixed else pytest.skip("every extent is open")
            inputs[name] = np.concatenate([array, array], axis=axis)
        case _:
            inputs[name] = array.tolist()
    return inputs


def copy_of(tensors: Tensors) -> dict[str, Array]:
    """The same values in arrays of their own."""
    return {name: np.array(array) for name, array in tensors.items()}


def assert_close(got: Tensors, want: Tensors, tolerance: float) -> None:
    """The same names, and no value further off than ``tolerance``."""
    assert set(got) == set(want)
    for name, wanted in want.items():
        np.testing.assert_allclose(
            got[name].astype(np.float64), wanted.astype(np.float64), rtol=0, atol=tolerance, err_msg=f"tensor {name!r}"
        )


def _close(outputs: Iterator[Tensors]) -> None:
    close = getattr(outputs, "close", None)
    if close is not None:
        close()


def _resident_bytes() -> int:
    """Resident set of this process (proc(5), statm)."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
