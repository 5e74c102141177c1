"""What int8 means on processors with and without instructions for it, as `edgeai doctor` tells it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeai.doctor.examine import examine
from edgeai.testing.keras_models import classifier_request
from edgeai_openvino import BACKEND, CONVERTER, processor
from edgeai_openvino.processor import ARM, X86

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("flags\t\t: fpu sse4_2 avx avx2 fma\n", X86),
        ("processor\t: 0\nflags\t\t: avx2 avx_vnni\n", ()),
        ("flags\t\t: avx512f avx512_vnni\n", ()),
        ("flags\t\t: avx2 amx_tile amx_int8\n", ()),
        ("flags\t\t: avx512f avx512_4vnniw\n", X86),
        ("Features\t: fp asimd evtstrm crc32\n", ARM),
        ("Features\t: fp asimd asimddp\n", ()),
        ("isa\t\t: rv64imafdc\n", ()),
        ("", ()),
    ],
)
def test_a_processor_lacks_what_none_of_its_flags_says(tmp_path, text, lacks):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor.lacking(tmp_path / "cpuinfo") == lacks


def test_where_nobody_says_nothing_is_lacking(tmp_path):
    assert processor.lacking(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    ("device", "lacks", "precision", "code"),
    [
        ("CPU", X86, "int8-whole", "backend.int8-overflows"),
        ("AUTO", X86, "int8-whole", "backend.int8-overflows"),
        ("CPU", X86, "int8", "backend.int8-slow"),
        ("CPU", ARM, "int8-whole", "backend.int8-slow"),
        ("CPU", (), "int8-whole", ""),
        ("GPU.0", X86, "int8-whole", ""),
        ("CPU", X86, "fp32", ""),
    ],
)
def test_what_int8_means_here_depends_on_processor_device_and_weights(
    by_precision, monkeypatch, device, lacks, precision, code
):
    monkeypatch.setattr(processor, "lacking", lambda: lacks)
    told = BACKEND.caution(by_precision[precision], device)
    assert (told.code if told else "") == code
    assert bool(told and told.remedy) == (code == "backend.int8-overflows")


@pytest.fixture(scope="module")
def by_precision(keras_models, calibration, tmp_path_factory):
    """The classifier's artifacts: ``fp32``, ``int8`` and, with weights of the whole range, ``int8-whole``."""
    wishes = {"fp32": {}, "int8": {}, "int8-whole": {"overflow_fix": "none"}}
    return {
        name: CONVERTER.convert(
            classifier_request(
                keras_models,
                tmp_path_factory.mktemp(name),
                precision=name.partition("-")[0],
                calibration=lambda: calibration,
                options=options,
            )
        ).artifact
        for name, options in wishes.items()
    }


@pytest.mark.parametrize(("lacks", "code"), [(X86, "backend.int8-overflows"), ((), "")])
def test_doctor_tells_it_of_what_a_deployment_has_opened(tmp_path, monkeypatch, lacks, code):
    bundle = next(MODELS.glob("xray-pneumonia/*.edgeai"))  # its weights have the whole range
    profile = tmp_path / "profile.toml"
    profile.write_text(
        f"""
[device]
id = "a"
site = "b"
data_dir = "{tmp_path / "data"}"
[plugins]
allow = ["openvino", "transforms", "classify"]
[trust]
unsigned = "accept"
[[deployments]]
name = "view"
bundle = "{bundle}"
backends = ["openvino"]
"""
    )
    monkeypatch.setattr(processor, "lacking", lambda: lacks)
    examine(profile, "deployment:view", tmp_path, 60)
    opened = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])
    assert opened["on"].startswith("openvino (CPU)"), opened
    assert (opened["caution"] or {"code": ""})["code"] == code
