"""README.md says what the specs say."""

from __future__ import annotations

from pathlib import Path

from edgeai.testing.readme import check_options, run_example, table_rows
from edgeai_tflite import BACKEND, CONVERTER

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_option_and_setting_is_in_its_table_with_its_default():
    check_options(README, "Options", BACKEND.options)
    check_options(README, "Settings", BACKEND.settings)


def test_every_option_of_the_converter_is_in_its_table_with_its_choices():
    check_options(README, "Recipe options", CONVERTER.options)


def test_every_precision_is_named():
    assert set(table_rows(README, "Precisions")) == set(CONVERTER.precisions)


def test_the_example_runs():
    run_example(README)
