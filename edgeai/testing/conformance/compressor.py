"""What the host relies on in a compressor: a smaller model that takes and gives the same, or a reason why not."""

from __future__ import annotations

import base64
import hashlib
import json
import marshal
import math
import os
import sys
import zipfile
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeai.api import (
    Batch,
    Compressed,
    CompressionFailed,
    CompressorSpec,
    CompressRequest,
    Objective,
    OpenRequest,
    Options,
)
from edgeai.process import flush_native
from edgeai.testing.conformance.suite import Suite, assert_silent, info_of, loaded, needs, since
from edgeai.testing.examples import CompressionExample
from edgeai.testing.require import require

_NOBODYS = Objective(loss="mean-squared-error")


@dataclass(frozen=True)
class _Again:
    """What came of a second run: the model's digest, what it printed, and what is where."""

    model: str
    printed: str
    is_source_kept: bool
    in_work: tuple[str, ...]
    in_output: tuple[str, ...]


class CompressorConformance(Suite):
    """Subclass it once for each compressor and give a ``model`` with some data.

    Attributes:
        compressor: ``CompressorSpec.name``.
        backend: ``BackendSpec.name`` of the same plugin that opens ``.keras`` files; empty when it has none.
        nonsense: options that make no sense and must be refused.
    """

    kind: ClassVar[str] = "compressor"
    compressor: ClassVar[str] = ""
    backend: ClassVar[str] = ""
    nonsense: ClassVar[Sequence[Options]] = ()

    def model(self, folder: Path) -> CompressionExample:
        """Write a small ``.keras`` file below ``folder`` (or point at one), and give data to fine-tune it with."""
        needs("model(folder), a small model with a few batches")

    @pytest.fixture
    def example(self, tmp_path_factory: pytest.TempPathFactory) -> CompressionExample:
        """The example model, made once for the class; an author may override this instead of ``model``."""
        return self.once("example", lambda: self.model(tmp_path_factory.mktemp(f"{self.compressor}-model")))

    @pytest.fixture
    def made(
        self, example: CompressionExample, tmp_path_factory: pytest.TempPathFactory
    ) -> tuple[CompressRequest, Compressed]:
        """The example, compressed once for the class."""

        def compress() -> tuple[CompressRequest, Compressed]:
            request = self.request_for(example, tmp_path_factory.mktemp(f"{self.compressor}-made"))
            return request, self.spec.compress(request)

        return self.once("made", compress)

    @pytest.fixture
    def again(
        self,
        example: CompressionExample,
        tmp_path_factory: pytest.TempPathFactory,
        capfd: pytest.CaptureFixture[str],
    ) -> _Again:
        """The example, compressed a second time for the class, and watched."""

        def compress() -> _Again:
            work, output = (tmp_path_factory.mktemp(f"{self.compressor}-{name}") for name in ("work", "again"))
            before = _contents(example.path.parent)
            flush_native()
            capfd.readouterr()
            with chdir(work):
                compressed = self.spec.compress(self.request_for(example, output))
            sys.stdout.flush()
            flush_native()
            return _Again(
                model=_digest(compressed.model),
                printed=capfd.readouterr().out,
                is_source_kept=_contents(example.path.parent) == before,
                in_work=tuple(os.listdir(work)),  # noqa: PTH208
                in_output=tuple(os.listdir(output)),  # noqa: PTH208
            )

        return self.once("again", compress)

    @property
    def spec(self) -> CompressorSpec:
        """The spec under test."""
        spec: CompressorSpec = self.any_spec()
        return spec

    def request_for(self, example: CompressionExample, folder: Path, **changes: Any) -> CompressRequest:
        """The request that compresses the example; ``changes`` by the names of ``CompressRequest``."""
        request = CompressRequest(
            model=example.path,
            output=folder / "smaller.keras",
            objective=example.objective,
            train=_batches(example.train),
            validation=_batches(example.validation),
            teacher=example.path,
            seed=7,
            options=example.options,
        )
        return replace(request, **changes)

    def _generic(self, folder: Path, model: Path, **changes: Any) -> CompressRequest:
        """A request for a model that cannot be compressed; needs no example."""
        request = CompressRequest(model=model, output=folder / "smaller.keras", objective=_NOBODYS, teacher=model)
        return replace(request, **changes)

    def _refuses(self, request: CompressRequest) -> None:
        with pytest.raises(CompressionFailed) as refused:
            self.spec.compress(request)
        assert str(refused.value).strip(), "CompressionFailed says nothing"
        assert not request.output.exists(), "it refused and wrote all the same"

    @since(1, 1)
    def test_prints_nothing(self, again: _Again) -> None:
        """Compressing writes nothing to standard output."""
        assert_silent(again.printed)

    # --- refusals

    @since(1, 0)
    def test_unknown_option_is_refused(self, tmp_path: Path) -> None:
        """An option that the spec does not list is CompressionFailed, and nothing is written."""
        self._refuses(self._generic(tmp_path, tmp_path / "none.keras", options={"no_such_option": 1}))

    @since(1, 0)
    def test_nonsense_is_refused(self, example: CompressionExample, tmp_path: Path) -> None:
        """Options that make no sense are CompressionFailed, and nothing is written."""
        if not self.nonsense:
            needs("nonsense, sets of options that make no sense")
        for options in self.nonsense:
            self._refuses(self.request_for(example, tmp_path, options={**example.options, **options}))

    @since(1, 0)
    @pytest.mark.parametrize("what", ["missing", "empty", "noise", "truncated"])
    def test_damaged_model_is_refused(self, request: pytest.FixtureRequest, tmp_path: Path, what: str) -> None:
        """A .keras file that is missing, empty, truncated or noise is CompressionFailed, and nothing is written."""
        example: CompressionExample = request.getfixturevalue("example")
        damaged = tmp_path / "damaged.keras"
        if what == "truncated":
            damaged.write_bytes(example.path.read_bytes()[: example.path.stat().st_size // 2])
        elif what != "missing":
            damaged.write_bytes(b"" if what == "empty" else bytes(range(256)) * 8)
        self._refuses(self.request_for(example, tmp_path, model=damaged))

    @since(1, 0)
    def test_code_in_a_model_is_refused_and_not_run(self, example: CompressionExample, tmp_path: Path) -> None:
        """A .keras file with a Lambda layer is CompressionFailed; its code is not run."""
        mark = tmp_path / "it-ran"
        hostile = write_hostile_model(tmp_path / "hostile.keras", mark)
        self._refuses(self.request_for(example, tmp_path, model=hostile))
        assert not mark.exists(), "the code in the model was run"

    @since(1, 0)
    def test_without_data_it_compresses_or_says_that_it_cannot(
        self, example: CompressionExample, tmp_path: Path
    ) -> None:
        """Without training batches there is a result, or CompressionFailed; nothing else."""
        request = self.request_for(example, tmp_path, train=None, validation=None)
        try:
            made = self.spec.compress(request)
        except CompressionFailed as refused:
            assert refused.remedy, "it says no way out"  # noqa: PT017  both outcomes are right
            assert not request.output.exists()
        else:
            assert made.model == request.output

    # --- results

    @since(1, 0)
    def test_writes_the_model_that_was_asked_for(self, made: tuple[CompressRequest, Compressed]) -> None:
        """The result is the file that was asked for, and not the one that was given."""
        request, compressed = made
        assert compressed.model == request.output
        assert request.output.read_bytes() != request.model.read_bytes()

    @since(1, 0)
    def test_says_what_it_did(self, made: tuple[CompressRequest, Compressed]) -> None:
        """There is a note for the reader, and every fact is a finite number, before and after."""
        _, compressed = made
        assert compressed.notes
        assert all(note.strip() for note in compressed.notes)
        assert compressed.facts
        assert all(math.isfinite(value) for value in compressed.facts.values()), compressed.facts
        alone = [n for n in compressed.facts if n.endswith("_before") and n[: -len("_before")] not in compressed.facts]
        assert not alone, f"before, and not after: {alone}"

    @since(1, 0)
    def test_same_request_same_bytes(self, made: tuple[CompressRequest, Compressed], again: _Again) -> None:
        """The same request gives the same file again on this machine, byte by byte."""
        assert again.model == _digest(made[1].model)

    @since(1, 0)
    def test_writes_nowhere_else(self, again: _Again) -> None:
        """The model, its folder and the working folder are as they were; beside the output there is nothing new."""
        assert again.is_source_kept, "the model's folder changed"
        assert again.in_work == (), "the working folder was written to"
        assert again.in_output == ("smaller.keras",)

    @since(1, 0)
    def test_takes_and_gives_the_same(
        self, example: CompressionExample, made: tuple[CompressRequest, Compressed]
    ) -> None:
        """The plugin's backend opens the result under the model's own tensors, and it answers with numbers."""
        backends = {spec.name: spec for spec in loaded(info_of(self.plugin, self.module)).backends}
        if self.backend not in backends:
            needs("backend, the name of one of this plugin that opens models")
        spec = backends[self.backend]
        devices = spec.probe()
        require(self.backend, bool(devices), f"backend {self.backend} has no device here: {spec.explain()}")
        session = spec.open(
            OpenRequest(artifact=made[1].model, device=devices[0].name, inputs=example.inputs, outputs=example.outputs)
        )
        inputs, _ = example.train[0]
        outputs = session.run({name: np.array(value) for name, value in inputs.items()})
        session.close()
        assert set(outputs) == {spec.name for spec in example.outputs}
        for name, value in outputs.items():
            assert np.isfinite(value).all(), f"{name} is not a number"
            assert float(np.ptp(value)) > 0, f"{name} is the same for every sample"


def write_hostile_model(path: Path, mark: Path) -> Path:
    """A ``.keras`` file with a Lambda layer whose code, if it is run, makes the file ``mark``."""
    code = compile(f"__import__('pathlib').Path({str(mark)!r}).touch()", "<lambda>", "eval")
    raw = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"code": raw, "defaults": None, "closure": None}}
    shape = {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": shape, "registered_name": None},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": function}},
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "hostile", "layers": layers}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.12.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"")
    return path


def _batches(batches: Sequence[Batch]) -> Any:
    return (lambda: list(batches)) if batches else None


def _contents(folder: Path) -> dict[str, str]:
    return {str(path): _digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
