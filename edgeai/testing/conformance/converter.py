"""What the host relies on in a converter: an artifact that a backend opens and that agrees, or a reason why not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgeai.api import BackendSpec, ConversionFailed, Converted, ConverterSpec, ConvertRequest, OpenRequest, TensorSpec
from edgeai.testing.conformance.suite import Suite, info_of, loaded, needs, since
from edgeai.testing.examples import ModelExample
from edgeai.testing.require import require

_ANY = (TensorSpec(name="x", dtype="float32", shape=(1, 4)),)


class ConverterConformance(Suite):
    """Subclass it once for each converter and give a ``model``.

    Attributes:
        converter: ``ConverterSpec.name``.
        backend: ``BackendSpec.name`` of the same plugin that opens the artifacts; empty when it has none.
        precisions: precisions to try; by default all of the spec's.
        device: where to open artifacts; by default the backend's best device here.
    """

    kind: ClassVar[str] = "converter"
    converter: ClassVar[str] = ""
    backend: ClassVar[str] = ""
    precisions: ClassVar[Sequence[str]] = ()
    device: ClassVar[str] = ""

    def model(self, folder: Path) -> ModelExample:
        """Write a small ``.keras`` file below ``folder`` (or point at one), and say what it answers."""
        needs("model(folder), a small .keras file with what it answers")

    @pytest.fixture
    def example(self, tmp_path_factory: pytest.TempPathFactory) -> ModelExample:
        """The example model, made once for the class; an author may override this instead of ``model``."""
        return self.once("example", lambda: self.model(tmp_path_factory.mktemp(f"{self.converter}-model")))

    @pytest.fixture
    def converted(
        self, example: ModelExample, tmp_path_factory: pytest.TempPathFactory
    ) -> dict[str, tuple[ConvertRequest, Converted]]:
        """The example in each precision, made once for the class; calibrated ones where it has calibration."""

        def convert() -> dict[str, tuple[ConvertRequest, Converted]]:
            made = {}
            for precision in self.precisions or self.spec.precisions:
                if precision in self.spec.calibrated and not example.calibration:
                    continue
                request = self.request_for(example, tmp_path_factory.mktemp(f"{self.converter}-{precision}"), precision)
                made[precision] = (request, self.spec.convert(request))
            return made

        return self.once("converted", convert)

    @property
    def spec(self) -> ConverterSpec:
        """The spec under test."""
        spec: ConverterSpec = self.any_spec()
        return spec

    def request_for(self, example: ModelExample, output: Path, precision: str, **changes: Any) -> ConvertRequest:
        """The request that converts the example; ``changes`` by the names of ``ConvertRequest``."""
        request = ConvertRequest(
            model=example.path,
            output=output,
            precision=precision,
            inputs=example.inputs,
            outputs=example.outputs,
            calibration=(lambda: example.calibration) if example.calibration else None,
            options=example.options,
        )
        return replace(request, **changes)

    def _generic(self, folder: Path, model: Path, **changes: Any) -> ConvertRequest:
        """A request for a model that cannot be converted; needs no example."""
        output = folder / "output"
        output.mkdir()
        example = ModelExample(path=model, inputs=_ANY, outputs=_ANY)
        return replace(self.request_for(example, output, self.spec.precisions[0]), **changes)

    @since(1, 0)
    def test_precisions_are_named_once(self) -> None:
        """The spec names at least one precision, and none twice."""
        assert self.spec.precisions
        assert len(set(self.spec.precisions)) == len(self.spec.precisions)

    @since(1, 1)
    def test_prints_nothing(
        self, example: ModelExample, silence: Callable[[], AbstractContextManager[None]], tmp_path: Path
    ) -> None:
        """Converting writes nothing to standard output."""
        with silence():
            self.spec.convert(self.request_for(example, tmp_path, (self.precisions or self.spec.precisions)[0]))

    @since(1, 0)
    def test_unknown_precision_is_refused(self, tmp_path: Path) -> None:
        """A precision that the spec does not list is ConversionFailed, and nothing is written."""
        request = self._generic(tmp_path, tmp_path / "none.keras", precision="int3")
        with pytest.raises(ConversionFailed):
            self.spec.convert(request)
        assert list(request.output.iterdir()) == []

    @since(1, 0)
    def test_unknown_option_is_refused(self, tmp_path: Path) -> None:
        """An option that the spec does not list is ConversionFailed."""
        with pytest.raises(ConversionFailed):
            self.spec.convert(self._generic(tmp_path, tmp_path / "none.keras", options={"no_such_option": 1}))

    @since(1, 0)
    @pytest.mark.parametrize("what", ["missing", "empty", "noise", "truncated"])
    def test_damaged_model_is_refused(self, request: pytest.FixtureRequest, tmp_path: Path, what: str) -> None:
        """A .keras file that is missing, empty, truncated or noise is ConversionFailed."""
        damaged = tmp_path / "damaged.keras"
        if what == "truncated":
            whole: ModelExample = request.getfixturevalue("example")
            damaged.write_bytes(whole.path.read_bytes()[: whole.path.stat().st_size // 2])
        elif what != "missing":
            damaged.write_bytes(b"" if what == "empty" else bytes(range(256)) * 8)
        with pytest.raises(ConversionFailed):
            self.spec.convert(self._generic(tmp_path, damaged))

    @since(1, 0)
    def test_wrong_names_are_refused(self, example: ModelExample, tmp_path: Path) -> None:
        """Tensors that the model does not have are ConversionFailed: one input too many."""
        more = (*example.inputs, TensorSpec(name="surplus", dtype="float32", shape=(1, 1)))
        request = self.request_for(example, tmp_path, self.spec.precisions[0], inputs=more)
        with pytest.raises(ConversionFailed):
            self.spec.convert(request)

    @since(1, 0)
    def test_calibrated_precisions_are_precisions(self) -> None:
        """``calibrated`` names nothing that the spec does not make."""
        assert set(self.spec.calibrated) <= set(self.spec.precisions)

    @since(1, 0)
    @pytest.mark.parametrize("what", ["missing", "none", "shape", "name", "dtype", "nan"])
    def test_calibration_that_is_none_is_refused(self, example: ModelExample, tmp_path: Path, what: str) -> None:
        """Without samples, or with one that is not the model's input, it is ConversionFailed; nothing is written."""
        if not self.spec.calibrated:
            pytest.skip("no precision is calibrated")
        good = example.sample()
        bad = {
            "missing": None,
            "none": (),
            "shape": (good, {name: array[..., :-1] for name, array in good.items()}),
            "name": (good, {f"{name}_other": array for name, array in good.items()}),
            "dtype": (good, {name: array.astype("float64") for name, array in good.items()}),
            "nan": (good, {name: np.full_like(array, np.nan) for name, array in good.items()}),
        }[what]
        request = self.request_for(
            example, tmp_path, self.spec.calibrated[0], calibration=None if bad is None else lambda: bad
        )
        with pytest.raises(ConversionFailed) as caught:
            self.spec.convert(request)
        assert caught.value.remedy
        assert list(tmp_path.iterdir()) == []

    @since(1, 0)
    def test_errors_of_layers_are_numbers(self, converted: dict[str, tuple[ConvertRequest, Converted]]) -> None:
        """What the report shows of a layer is a finite number from 0."""
        for precision, (_, made) in converted.items():
            assert all(np.isfinite(error) and error >= 0 for error in made.layers.values()), precision

    @since(1, 0)
    def test_writes_an_artifact_below_the_output(self, converted: dict[str, tuple[ConvertRequest, Converted]]) -> None:
        """The artifact exists below the output folder, and is not empty."""
        for precision, (request, made) in converted.items():
            assert made.artifact.exists(), precision
            assert made.artifact.resolve().is_relative_to(request.output.resolve())
            parts = [made.artifact] if made.artifact.is_file() else list(made.artifact.rglob("*"))
            assert sum(part.stat().st_size for part in parts if part.is_file()) > 0

    @since(1, 0)
    def test_writes_nowhere_else(self, example: ModelExample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The model, its folder and the working folder are as they were."""
        work = tmp_path / "work"
        output = tmp_path / "output"
        work.mkdir()
        output.mkdir()
        monkeypatch.chdir(work)
        before = _fingerprint(example.path.parent)
        self.spec.convert(self.request_for(example, output, self.spec.precisions[0]))
        assert _fingerprint(example.path.parent) == before, "the model's folder changed"
        assert os.listdir(work) == [], "the working folder was written to"  # noqa: PTH208
        assert sorted(p.name for p in tmp_path.iterdir()) == ["output", "work"]

    @since(1, 0)
    def test_backend_opens_and_agrees(
        self, example: ModelExample, converted: dict[str, tuple[ConvertRequest, Converted]]
    ) -> None:
        """The plugin's backend opens each artifact under the declared names, and it agrees with the model."""
        backend = self._backend()
        devices = [self.device] if self.device else [device.name for device in backend.probe()]
        require(self.backend, bool(devices), f"backend {self.backend} has no device here: {backend.explain()}")
        for precision, (_, made) in converted.items():
            session = backend.open(
                OpenRequest(
                    artifact=made.artifact,
                    device=devices[0],
                    inputs=example.inputs,
                    outputs=example.outputs,
                    options=made.options,
                )
            )
            for inputs, wanted in example.golden:
                outputs = session.run(inputs)
                assert set(outputs) == {spec.name for spec in example.outputs}
                for name, array in wanted.items():
                    if precision in example.tolerance:
                        difference = float(np.abs(outputs[name] - array).max())
                        assert difference <= example.tolerance[precision], f"{precision}, {name}: off by {difference}"
            session.close()

    def _backend(self) -> BackendSpec:
        backends = {spec.name: spec for spec in loaded(info_of(self.plugin, self.module)).backends}
        if self.backend not in backends:
            needs("backend, the name of one that opens what it writes")
        assert backends[self.backend].artifact_format == self.spec.artifact_format
        return backends[self.backend]


def _fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
