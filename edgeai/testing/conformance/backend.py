"""What the host relies on in a backend: it does what was asked, on the device that was asked, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeai.api import (
    BackendUnavailable,
    Described,
    Device,
    ModelRejected,
    TensorMismatch,
    TensorSpec,
)
from edgeai.testing.conformance.damage import CASES, Opening, open_damaged
from edgeai.testing.conformance.session import assert_close
from edgeai.testing.conformance.state import StateRules
from edgeai.testing.conformance.suite import assert_silent, info_of, needs, since
from edgeai.testing.conformance.work import AtWork, at_work
from edgeai.testing.examples import ArtifactExample

_NEVER_SEEN = ("", "NO-SUCH-DEVICE", "GPU", "GPU.7", "NPU", "TPU", "CUDA:7", "cpu ")

_NO_DESCRIBE = "it does not describe artifacts of others (describe is None)"
_MAY_BE_READ = ("truncated", "noise")
"""Damage that may lie in what ``describe`` does not read: the weights of an artifact of several files."""


class BackendConformance(StateRules):
    """Subclass it once for each backend and give an ``artifact``; without one, most rules are skipped.

    Where the engine knows variables or recurrent state, give an artifact that keeps some too: ``stateful``.

    Attributes:
        backend: ``BackendSpec.name``.
        devices: devices to test on; by default every one that ``probe`` gives.
        memory_runs: runs in each of the two halves of the memory test.
        memory_growth_bytes: what each half may grow by; see ``test_memory_does_not_grow``.
        in_flight: how many inputs ``stream`` may take ahead of the output that was asked for.
    """

    @pytest.fixture
    def damaged(self, request: pytest.FixtureRequest, present: tuple[Device, ...]) -> Callable[[str], list[Opening]]:
        """What became of damaged artifacts, by case: each was opened in a process of its own kind."""
        own = type(self).__mro__[: type(self).__mro__.index(BackendConformance)]
        overridden = any(name in vars(kind) for kind in own for name in ("artifact", "example"))
        example = request.getfixturevalue("example") if overridden else None

        def open_all() -> list[Opening]:
            folder = request.getfixturevalue("tmp_path_factory").mktemp(f"{self.backend}-damaged")
            return open_damaged(info_of(self.plugin, self.module), self.spec, present[0].name, example, folder)

        openings = self.once("damaged", open_all)

        def of(case: str) -> list[Opening]:
            matching = [opening for opening in openings if opening.case == case]
            if not matching and example is not None:
                pytest.skip("an artifact that is a folder cannot be damaged so")
            if not matching:
                needs("artifact(folder), a small artifact with what it answers")
            return matching

        return of

    # --- probing: nothing is opened

    @since(1, 0)
    def test_probe_is_repeatable(self) -> None:
        """Probe gives the same devices in the same order each time, and never raises."""
        first = tuple(self.spec.probe())
        assert [tuple(self.spec.probe()) for _ in range(3)] == [first] * 3

    @since(1, 0)
    def test_probe_names_each_device_once(self) -> None:
        """Every device has a name of its own."""
        names = [device.name for device in self.spec.probe()]
        assert all(names)
        assert len(set(names)) == len(names), f"a name twice: {names}"

    @since(1, 0)
    def test_says_which_engine_or_why_none(self) -> None:
        """With a device the engine has a name and version; without one, ``explain`` says why."""
        if self.spec.probe():
            assert any(character.isdigit() for character in self.spec.engine()), "engine() is name and version"
        else:
            assert self.spec.explain().strip(), "no device, and explain() gives no reason"

    @since(1, 0)
    def test_threads_may_probe(self) -> None:
        """Probing from several threads at once gives what probing from one gives."""
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: tuple(self.spec.probe()), range(8)))
        assert answers == [tuple(self.spec.probe())] * 8

    # --- opening

    @since(1, 0)
    def test_device_is_the_one_asked_for(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """A session opened on a device says so, on every device that was probed."""
        for device in present:
            session = self.open(example, device.name)
            assert session.device == device.name
            session.close()

    @since(1, 0)
    @pytest.mark.parametrize("device", _NEVER_SEEN)
    def test_unknown_device_is_refused(self, example: ArtifactExample, device: str) -> None:
        """A device that probe does not give is BackendUnavailable: no other is taken in its place."""
        if device in {known.name for known in self.spec.probe()}:
            pytest.skip(f"{device} is a device here")
        with pytest.raises(BackendUnavailable):
            self.open(example, device).close()

    @since(1, 0)
    @pytest.mark.parametrize("case", CASES)
    def test_damaged_artifact_is_rejected(self, case: str, damaged: Callable[[str], list[Opening]]) -> None:
        """An artifact that is missing, empty, truncated or noise is ModelRejected; the process lives on."""
        for opening in damaged(case):
            assert opening.outcome == "ModelRejected", f"{opening.what}: {opening.outcome}: {opening.message}"
            assert opening.message.strip(), f"{opening.what}: ModelRejected says nothing"

    @since(1, 3)
    def test_its_models_are_recognised_by_what_it_says_of_them(self, example: ArtifactExample, tmp_path: Path) -> None:
        """``files``, where a spec has it, recognises a model of the format, and neither an empty file nor a folder."""
        files = self.spec.files
        if files is None:
            pytest.skip("the spec says nothing of how its models look")
        assert files.parts(example.path), f"{example.path.name} is not recognised as {files.called}"
        other = tmp_path / "other.nothing"
        other.write_bytes(b"")
        assert not files.parts(other)
        assert not files.parts(tmp_path)
        assert not files.parts(tmp_path / f"missing{files.suffix}")

    # --- describing

    @since(1, 1)
    def test_describes_what_it_opens(self, example: ArtifactExample) -> None:
        """``describe`` names the tensors that the artifact has, with their dtypes and shapes, the same each time."""
        described = self._describe(example)
        for what, got, want in (
            ("inputs", described.inputs, example.inputs),
            ("outputs", described.outputs, example.outputs),
        ):
            names = [spec.name for spec in got]
            assert all(names), f"{what} without a name: {names}"
            assert len(set(names)) == len(names), f"{what} with one name: {names}"
            # Its order is the artifact's own, the example's that of the manifest.
            assert len(got) == len(want), f"{what}: {names}, the example has {[spec.name for spec in want]}"
            lacking = [spec for spec in want if not any(_could_be(other, spec) for other in got)]
            assert not lacking, f"{what}: none of {got} is {lacking}"
        assert self._describe(example) == described

    @since(1, 1)
    def test_describing_leaves_the_artifact_alone(self, example: ArtifactExample) -> None:
        """``describe`` reads, and writes nothing beside the artifact."""
        before = _contents(example.root)
        self._describe(example)
        assert _contents(example.root) == before

    @since(1, 1)
    @pytest.mark.parametrize("case", CASES)
    def test_damaged_artifact_is_not_described(self, case: str, damaged: Callable[[str], list[Opening]]) -> None:
        """``describe`` of what is no artifact is ModelRejected; of one that is truncated never anything else."""
        if self.spec.describe is None:
            pytest.skip(_NO_DESCRIBE)
        for opening in damaged(case):
            allowed = {"ModelRejected", "described"} if case in _MAY_BE_READ else {"ModelRejected"}
            assert opening.described in allowed, f"{opening.what}: {opening.described or opening.outcome}"

    def _describe(self, example: ArtifactExample) -> Described:
        if self.spec.describe is None:
            pytest.skip(_NO_DESCRIBE)
        return self.spec.describe(example.path)

    # --- in a fresh process

    @since(1, 0)
    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_honoured(
        self,
        example: ArtifactExample,
        present: tuple[Device, ...],
        tmp_path_factory: pytest.TempPathFactory,
        threads: int,
    ) -> None:
        """No more threads compute than ``OpenRequest.threads`` allows, and the answers are those of any number."""
        worked = self._worked(example, present, tmp_path_factory, threads)
        for kind, work in worked.work.items():
            # Beside them there may be the caller's own, and one that hands the work of a stream out.
            assert work.workers <= threads + 2, f"{kind}: {work.workers} threads computed, {threads} were allowed"
            assert work.cores <= threads + 0.5, (
                f"{kind}: {work.cores:.1f} cores at once, {threads} threads were allowed"
            )
        for number, (_, wanted) in enumerate(example.golden[: len(worked.answers)]):
            assert_close(worked.answers[number], wanted, example.tolerance)

    @since(1, 1)
    def test_prints_nothing(
        self, example: ArtifactExample, present: tuple[Device, ...], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Probing, opening, running and closing write nothing to standard output, by the engine's C code either."""
        assert_silent(self._worked(example, present, tmp_path_factory, 1).printed)

    def _worked(
        self, example: ArtifactExample, present: tuple[Device, ...], folders: pytest.TempPathFactory, threads: int
    ) -> AtWork:
        info = info_of(self.plugin, self.module)

        def work() -> AtWork:
            folder = folders.mktemp(f"{self.backend}-{threads}-threads")
            return at_work(info, self.backend, present[0].name, example, threads, folder)

        return self.once(f"{threads} threads", work)

    @since(1, 0)
    @pytest.mark.parametrize("what", ["dtype", "rank", "extent", "one more input", "one more output"])
    def test_wrong_declaration_is_refused(
        self, example: ArtifactExample, present: tuple[Device, ...], what: str
    ) -> None:
        """Tensors declared otherwise than the artifact has them are refused when it is opened."""
        first, rest, more = (
            example.inputs[0],
            example.inputs[1:],
            TensorSpec(name="surplus", dtype="float32", shape=(1,)),
        )
        other = "float64" if first.dtype != "float64" else "float32"
        wrong: dict[str, Any] = {
            "dtype": {"inputs": (replace(first, dtype=other), *rest)},
            "rank": {"inputs": (replace(first, shape=(*first.shape, 1), layout=""), *rest)},
            "extent": {"inputs": (replace(first, shape=(*first.shape[:-1], (first.shape[-1] or 8) + 1)), *rest)},
            "one more input": {"inputs": (*example.inputs, more)},
            "one more output": {"outputs": (*example.outputs, more)},
        }
        if what == "extent" and first.shape[-1] is None:
            pytest.skip("the last extent is open")
        with pytest.raises((ModelRejected, TensorMismatch)):
            self.open(example, present[0].name, **wrong[what]).close()

    @since(1, 0)
    def test_names_are_the_manifests(self, example: ArtifactExample, present: tuple[Device, ...]) -> None:
        """The session uses the names of the request, whatever the engine calls its tensors."""
        if len(example.inputs) != 1 or len(example.outputs) != 1:
            pytest.skip("only with one input and one output can nothing else be meant")
        (source,), (target,) = example.inputs, example.outputs
        renamed = {"inputs": (replace(source, name="renamed_in"),), "outputs": (replace(target, name="renamed_out"),)}
        session = self.open(example, present[0].name, **renamed)
        sample = example.sample()
        outputs = session.run({"renamed_in": sample[source.name]})
        session.close()
        assert set(outputs) == {"renamed_out"}


def _could_be(got: TensorSpec, want: TensorSpec) -> bool:
    """Whether a tensor of the artifact is the one declared; an open extent is that of any."""
    alike = len(got.shape) == len(want.shape) and got.dtype == want.dtype
    return alike and all(None in pair or pair[0] == pair[1] for pair in zip(got.shape, want.shape, strict=True))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
