"""Tables of samples: what is read, and every mistake that is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeai.api import Array, DataRejected, Judge, TensorSpec
from edgeai.bundle.manifest import TaskUse
from edgeai.testing.phantoms import ramp, write_instance
from edgeai_tasks.classify.judge import Labels
from edgeai_tasks.segment.truth import flags_of
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.cells import TablePicture
from edgeai_workbench.dataset import digest, read_folder, read_split, read_splits
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.separate import check_apart, nearly_in
from edgeai_workbench.splits import Dataset, Split

CLASSIFY = TaskUse(name="classify", options={"labels": ["normal", {"label": "pneumonia"}]})
LABELS = judge_by_plugins(["classify"], CLASSIFY, (TensorSpec(name="out", dtype="float32", shape=(1, 2)),))
MASKS = judge_by_plugins(
    ["segment"],
    TaskUse(name="segment", options={"labels": ["head"]}),
    (TensorSpec(name="out", dtype="float32", shape=(1, 9, 7, 1), layout="NHWC"),),
)
Write = Callable[..., Path]


def _picture(number: int) -> Array:
    return np.random.default_rng(number).integers(0, 256, (9, 7), np.uint8)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Three pictures of two patients, one of them a DICOM file without a suffix."""
    root = tmp_path / "kit"
    (root / "chest" / "images").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(_picture(number)).save(root / "chest" / "images" / f"{number}.png")
    phantom = write_instance(tmp_path / "made.dcm", ramp(8, 10), modality="DX")
    phantom.path.rename(root / "chest" / "images" / "2")
    return root


def _table(root: Path, text: str, name: str = "train.csv") -> Split:
    (root / "chest" / name).write_text(text)
    return Split(
        table=f"chest/{name}",
        image="file",
        label="finding",
        values={"0": "normal", "1": "pneumonia"},
        group="patient",
        subgroups=("sex",),
        modality="CR",
    )


GOOD = "file,finding,patient,sex\nimages/0.png,0,p1,f\nimages/1.png,1,p1,m\nimages/2,1,p2,f\n"


def test_a_table_of_files_gives_pixels_labels_groups_and_subgroups(kit: Path) -> None:
    samples = read_split(_table(kit, GOOD), kit, LABELS)
    assert [sample.id for sample in samples] == [f"chest/images/{name}" for name in ("0.png", "1.png", "2")]
    assert [sample.truth for sample in samples] == [
        Labels(("normal",)),
        Labels(("pneumonia",)),
        Labels(("pneumonia",)),
    ]
    assert [sample.group for sample in samples] == ["p1", "p1", "p2"]
    assert samples[1].subgroups == {"sex": "m"}
    frame, instance = samples[1].load()
    np.testing.assert_array_equal(frame.pixels, _picture(1))
    assert (instance.modality, instance.rows, instance.columns) == ("CR", 9, 7)
    frame, instance = samples[2].load()
    np.testing.assert_array_equal(frame.pixels, ramp(8, 10))
    assert instance.modality == "DX"


def test_the_byte_order_mark_and_the_empty_last_line_of_a_spreadsheet_do_no_harm(kit: Path) -> None:
    samples = read_split(_table(kit, f"\ufeff{GOOD}\n"), kit, LABELS)
    assert len(samples) == 3


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (GOOD.replace("images/1.png", "images/7.png"), "data.file-missing", "chest/train.csv:3: chest/images/7.png"),
        (
            GOOD.replace("1.png,1", "1.png,2"),
            "data.label-unknown",
            "chest/train.csv:3: finding is '2', not one of 0, 1",
        ),
        (GOOD.replace("finding,", "findings,"), "data.column-missing", 'did you mean "findings"?'),
        (
            GOOD.replace("images/1.png", "images/0.png"),
            "data.duplicate",
            "chest/train.csv:3: chest/images/0.png is on line 2",
        ),
        (GOOD.replace("images/1.png", "../chest/images/1.png"), "data.outside", "chest/train.csv:3"),
        (GOOD.replace("images/1.png", "/etc/passwd"), "data.outside", "chest/train.csv:3"),
        (GOOD.replace("p1,m", "p1"), "data.table-invalid", "3 values for 4 columns"),
        (GOOD.replace("p1,m", " ,m"), "data.value-invalid", "chest/train.csv:3: patient is empty"),
        (GOOD.replace("file,finding", "file,file"), "data.table-invalid", "twice: file"),
        ("file,finding,patient,sex\n", "data.empty", "chest/train.csv"),
        ("", "data.column-missing", "chest/train.csv:1"),
        ('file,finding,patient,sex\n"images/0.png,0,p1,f\n', "data.table-invalid", "no table"),
    ],
)
def test_a_mistake_in_a_table_is_named_with_its_line(kit: Path, text: str, code: str, words: str) -> None:
    with pytest.raises(DataRejected) as caught:
        read_split(_table(kit, text), kit, LABELS)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_a_missing_table_or_folder_is_said_before_anything_else(kit: Path) -> None:
    split = _table(kit, GOOD)
    (kit / "chest" / "train.csv").unlink()
    for root in (kit, kit / "nowhere"):
        with pytest.raises(DataRejected) as caught:
            read_split(split, root, LABELS)
        assert caught.value.code == "data.file-missing"


def test_a_file_that_is_no_image_is_refused_when_it_is_read(kit: Path) -> None:
    (kit / "chest" / "images" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    samples = read_split(_table(kit, GOOD), kit, LABELS)
    with pytest.raises(DataRejected, match=r"1\.png") as caught:
        samples[1].load()
    assert caught.value.code == "data.file-unreadable"


def test_one_multi_frame_instance_is_not_one_sample(kit: Path) -> None:
    pixels = np.stack([ramp(8, 10)] * 3)
    write_instance(kit / "chest" / "images" / "cine.dcm", pixels, modality="US")
    samples = read_split(_table(kit, GOOD.replace("images/2", "images/cine.dcm")), kit, LABELS)
    with pytest.raises(DataRejected) as caught:
        samples[2].load()
    assert caught.value.code == "data.several-frames"


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[Path, Split]:
    images = np.stack([_picture(number) for number in range(4)])
    np.savez(tmp_path / "data.npz", images=images, wrong=images.astype(np.float32))
    (tmp_path / "t.csv").write_text("place,finding\n2,normal\n0,pneumonia\n")
    return tmp_path, Split(table="t.csv", array="data.npz:images", index="place", label="finding")


def test_rows_of_an_array_are_found_by_their_index(arrays: tuple[Path, Split]) -> None:
    root, split = arrays
    first, second = read_split(split, root, LABELS)
    np.testing.assert_array_equal(first.load()[0].pixels, _picture(2))
    np.testing.assert_array_equal(second.load()[0].pixels, _picture(0))
    assert first.id == "data.npz:images[2]"
    assert first.group == first.id


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"array": "data.npz:image"}, "data.column-missing"),
        ({"array": "data.npz:wrong"}, "data.value-invalid"),
        ({"array": "none.npz:images"}, "data.file-missing"),
        ({"array": "t.csv:images"}, "data.file-unreadable"),
        ({"index": "finding"}, "data.value-invalid"),
    ],
)
def test_arrays_that_are_not_as_the_card_says_are_refused(
    arrays: tuple[Path, Split], change: dict[str, str], code: str
) -> None:
    root, split = arrays
    with pytest.raises(DataRejected) as caught:
        read_split(split.model_copy(update=change), root, LABELS)
    assert caught.value.code == code


@pytest.mark.parametrize("place", ["4", "-1", "1.0", ""])
def test_an_index_outside_the_array_is_refused(arrays: tuple[Path, Split], place: str) -> None:
    root, split = arrays
    (root / "t.csv").write_text(f"place,finding\n{place},normal\n")
    with pytest.raises(DataRejected, match=r"t\.csv:2") as caught:
        read_split(split, root, LABELS)
    assert caught.value.code == "data.value-invalid"


def test_multi_label_columns_hold_zero_or_one(arrays: tuple[Path, Split]) -> None:
    root, _ = arrays
    split = Split(table="m.csv", array="data.npz:images", labels=("a", "b"))
    (root / "m.csv").write_text("a,b\n0,1\n1,1\n0,0\n")
    targets = [sample.truth for sample in read_split(split, root, LABELS)]
    assert targets == [Labels(("pneumonia",)), Labels(("normal", "pneumonia")), Labels(())]
    (root / "m.csv").write_text("a,b\n0,yes\n")
    with pytest.raises(DataRejected, match="0 or 1"):
        read_split(split, root, LABELS)


def test_masks_and_spacing(kit: Path) -> None:
    Image.fromarray((_picture(5) > 200).astype(np.uint8) * 255).save(kit / "chest" / "mask.png")
    (kit / "chest" / "s.csv").write_text("file,mask,dy,dx\nimages/0.png,mask.png,0.5,0.25\n")
    split = Split(table="chest/s.csv", image="file", mask="mask", spacing_mm=("dy", "dx"))
    (sample,) = read_split(split, kit, MASKS)
    assert isinstance(sample.truth, TablePicture)
    np.testing.assert_array_equal(flags_of(sample.truth), _picture(5) > 200)
    assert sample.load()[0].geometry.pixel_spacing_mm == (0.5, 0.25)
    (kit / "chest" / "s.csv").write_text("file,mask,dy,dx\nimages/0.png,mask.png,0.5,nan\n")
    with pytest.raises(DataRejected, match="a number above 0"):
        read_split(split, kit, MASKS)


def _both(kit: Path, train: str, validation: str) -> Dataset:
    return Dataset(train=_table(kit, train), validation=_table(kit, validation, "val.csv"))


HEADER = "file,finding,patient,sex\n"


def test_splits_that_share_nothing_are_read(kit: Path) -> None:
    dataset = _both(kit, HEADER + "images/0.png,0,p1,f\nimages/1.png,1,p1,m\n", HEADER + "images/2,1,p2,f\n")
    splits = read_splits(dataset, kit, LABELS)
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 2, "validation": 1}


def test_a_file_on_both_sides_is_refused(kit: Path) -> None:
    dataset = _both(kit, GOOD, HEADER + "images/0.png,0,p9,f\n")
    with pytest.raises(DataRejected, match=r"images/0\.png") as caught:
        read_splits(dataset, kit, LABELS)
    assert caught.value.code == "data.split-overlap"


def test_the_same_picture_under_another_name_on_the_other_side_is_refused(kit: Path) -> None:
    Image.fromarray(_picture(0)).save(kit / "chest" / "images" / "copy.png", compress_level=0)
    dataset = _both(kit, GOOD, HEADER + "images/copy.png,0,p9,f\n")
    with pytest.raises(DataRejected, match=r"0\.png is chest/images/copy\.png") as caught:
        read_splits(dataset, kit, LABELS)
    assert caught.value.code == "data.split-overlap"


def test_a_patient_on_both_sides_is_refused(kit: Path) -> None:
    dataset = _both(kit, HEADER + "images/0.png,0,p1,f\n", HEADER + "images/1.png,1,p1,m\n")
    with pytest.raises(DataRejected, match="p1") as caught:
        read_splits(dataset, kit, LABELS)
    assert caught.value.code == "data.split-group"


def test_a_patient_on_both_sides_is_named_with_both_rows(kit: Path) -> None:
    dataset = _both(kit, HEADER + "images/0.png,0,p1,f\n", HEADER + "images/2,1,p2,f\nimages/1.png,1,p1,m\n")
    with pytest.raises(DataRejected, match=r"p1 \(chest/train\.csv:2 and chest/val\.csv:3\)"):
        read_splits(dataset, kit, LABELS)


@pytest.mark.parametrize("other", ["train", "validation"])
@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("images/{}.png,0,p9,f", "data.split-overlap"),
        ("images/copy.png,0,p9,f", "data.split-overlap"),
        ("images/copy.jpg,0,p9,f", "data.split-near"),
        ("images/larger.png,0,p9,f", "data.split-near"),
        ("images/deep.png,0,p9,f", "data.split-near"),
        ("images/2,0,p{},f", "data.split-group"),
    ],
)
def test_the_test_shares_nothing_with_any_other_split(kit: Path, other: str, row: str, code: str) -> None:
    place = {"train": 0, "validation": 1}[other]
    folder = kit / "chest" / "images"
    smooth = [Image.fromarray(_picture(number)).resize((70, 90), Image.Resampling.BICUBIC) for number in range(2)]
    for number, picture in enumerate(smooth):
        picture.save(folder / f"{number}.png")
    smooth[place].save(folder / "copy.png", compress_level=0)
    smooth[place].save(folder / "copy.jpg", quality=85)
    smooth[place].resize((140, 180), Image.Resampling.BICUBIC).save(folder / "larger.png")
    Image.fromarray(np.asarray(smooth[place]).astype(np.uint16) * 200).save(folder / "deep.png")
    dataset = _both(kit, HEADER + "images/0.png,0,p0,f\n", HEADER + "images/1.png,1,p1,m\n")
    tested = _table(kit, HEADER + row.format(place) + "\n", "test.csv")
    with pytest.raises(DataRejected, match=rf"{other} and test .*test\.csv:2") as caught:
        read_splits(dataset.model_copy(update={"test": tested}), kit, LABELS)
    assert caught.value.code == code


def test_images_of_validation_that_are_nearly_of_train_are_named(kit: Path) -> None:
    folder = kit / "chest" / "images"
    smooth = [Image.fromarray(_picture(number)).resize((70, 90), Image.Resampling.BICUBIC) for number in range(3)]
    for number, picture in enumerate(smooth):
        picture.save(folder / f"{number}.png")
    smooth[0].save(folder / "again.jpg", quality=85)
    smooth[0].save(folder / "worse.jpg", quality=70)
    smooth[1].resize((140, 180), Image.Resampling.BICUBIC).save(folder / "larger.png")
    train = HEADER + "images/0.png,0,p0,f\nimages/1.png,1,p1,m\nimages/again.jpg,0,p0,f\n"
    rows = ["images/larger.png,1,p7,f", "images/2.png,0,p8,f", "images/worse.jpg,0,p9,f"]
    splits = read_splits(_both(kit, train, HEADER + "\n".join(rows) + "\n"), kit, LABELS)
    assert nearly_in(splits["train"], splits["validation"]) == (
        "chest/images/1.png is chest/images/larger.png (chest/train.csv:3 and chest/val.csv:2)",
        "chest/images/0.png is chest/images/worse.jpg (chest/train.csv:2 and chest/val.csv:4)",
    )
    assert nearly_in(splits["train"], splits["validation"][1:2]) == ()
    assert nearly_in(splits["train"], splits["train"]) == ()  # without labels, both are the same samples


def test_a_test_of_its_own_images_is_read(kit: Path) -> None:
    dataset = _both(kit, HEADER + "images/0.png,0,p1,f\n", HEADER + "images/1.png,1,p2,m\n")
    tested = _table(kit, HEADER + "images/2,1,p3,f\n", "test.csv")
    splits = read_splits(dataset.model_copy(update={"test": tested}), kit, LABELS)
    assert [(name, len(samples)) for name, samples in splits.items()] == [("train", 1), ("validation", 1), ("test", 1)]


def test_blank_images_are_no_copies_of_one_another(kit: Path) -> None:
    for number, level in enumerate((3, 90, 200)):
        Image.fromarray(np.full((9, 7), level, np.uint8)).save(kit / "chest" / "images" / f"blank{number}.png")
    rows = [HEADER + f"images/blank{number}.png,0,p{number},f\n" for number in range(3)]
    dataset = _both(kit, rows[0], rows[1]).model_copy(update={"test": _table(kit, rows[2], "test.csv")})
    assert len(read_splits(dataset, kit, LABELS)["test"]) == 1


def test_the_digest_is_of_pixels_and_targets_and_not_of_files(kit: Path) -> None:
    samples = read_split(_table(kit, GOOD), kit, LABELS)
    before = digest(samples, LABELS)
    Image.fromarray(_picture(0)).save(kit / "chest" / "images" / "0.png", compress_level=0)
    assert digest(samples, LABELS) == before
    assert digest(samples[::-1], LABELS) != before
    relabelled = read_split(_table(kit, GOOD.replace("0.png,0", "0.png,1")), kit, LABELS)
    assert digest(relabelled, LABELS) != before
    Image.fromarray(_picture(8)).save(kit / "chest" / "images" / "0.png")
    assert digest(samples, LABELS) != before


def test_a_folder_with_one_sub_folder_a_label(kit: Path, tmp_path: Path) -> None:
    root = tmp_path / "folders"
    for name, number in (("normal", 0), ("pneumonia", 1), ("pneumonia", 2)):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(_picture(number)).save(root / name / f"{number}.jpg")
    (root / "normal" / "notes.txt").write_text("not an image")
    samples = read_folder(root, LABELS.folders)
    assert [(sample.id, sample.truth) for sample in samples] == [
        ("normal/0.jpg", Labels(("normal",))),
        ("pneumonia/1.jpg", Labels(("pneumonia",))),
        ("pneumonia/2.jpg", Labels(("pneumonia",))),
    ]
    assert [sample.truth for sample in read_folder(root)] == [None] * 3
    check_apart(samples[:1], samples[1:])
    (root / "unsure").mkdir()
    with pytest.raises(DataRejected, match="unsure") as caught:
        read_folder(root, LABELS.folders)
    assert caught.value.code == "data.label-unknown"


def test_a_folder_without_any_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for folder, code in ((tmp_path, "data.empty"), (tmp_path / "none", "data.file-missing")):
        with pytest.raises(DataRejected) as caught:
            read_folder(folder)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("array", "mode", "shape"),
    [
        (np.full((4, 6), 700, np.uint16), None, (4, 6)),
        (np.full((4, 6, 3), 9, np.uint8), None, (4, 6, 3)),
        (np.full((4, 6, 4), 9, np.uint8), None, (4, 6, 3)),
        (np.full((4, 6), 1, np.uint8), "P", (4, 6, 3)),
        (np.full((4, 6), 1, np.uint8), "1", (4, 6)),
    ],
)
def test_pictures_of_every_usual_kind_keep_their_values(
    tmp_path: Path, array: Array, mode: str | None, shape: tuple[int, ...]
) -> None:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(tmp_path / "a.png")
    (sample,) = read_folder(tmp_path)
    frame, instance = sample.load()
    assert frame.pixels.shape == shape
    assert instance.photometric_interpretation == ("RGB" if len(shape) == 3 else "MONOCHROME2")
    if mode is None:
        np.testing.assert_array_equal(frame.pixels, array[..., :3] if array.ndim == 3 else array)


def _judge_of(card: Card) -> Judge:
    outputs = tuple(tensor.spec() for tensor in card.for_manifest()["outputs"])
    return judge_by_plugins(card.plugins, card.task, outputs)


@pytest.mark.slow
def test_the_kit_is_read_as_its_cards_say(data_kit: Path, repo_root: Path) -> None:
    counts = {"xray-view": (87, 43, 42), "xray-pneumonia": (3921, 787, 516), "us-head": (225, 25, 50)}
    for name, expected in counts.items():
        card = read_card(repo_root / "models" / name)
        assert card.dataset is not None
        splits = read_splits(card.dataset, data_kit, _judge_of(card))
        assert tuple(len(samples) for samples in splits.values()) == expected
