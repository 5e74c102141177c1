"""``edgeai config check`` of a deployment that takes updates: what stands in its slots counts, not the path."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.api import ConfigError
from edgeai.cli.main import run
from edgeai.config import load_config
from edgeai.slots import SlotFolder
from edgeai.slots.record import Slot, Slots, encode

DIGEST = f"sha256:{1:064x}"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Of a cart whose path was adopted, and is gone since."""
    path = tmp_path / "profile.toml"
    path.write_text(
        f'[device]\nid = "cart-1"\nsite = "here"\ndata_dir = "{tmp_path}/data"\n'
        '[[deployments]]\nname = "guard"\nbundle = "gone.edgeai"\nupdates = true\n'
    )
    folder = slots(path)
    (folder.content("a")).mkdir(parents=True)
    (folder.content("a") / "manifest.json").write_text("{}")
    running = Slot(digest=DIGEST, model="tiny", release=1, stage="good", since="now", stood=True)
    folder.state.write_bytes(encode(Slots(a=running, active="a")))
    return path


def slots(profile: Path) -> SlotFolder:
    config = load_config(profile)
    return SlotFolder.of_device(config, config.deployments[0])


def told(profile: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    status = run(["config", "check", str(profile)])
    taken = capsys.readouterr()
    return status, " ".join((taken.out + taken.err).split())


def test_a_path_that_was_adopted_is_not_looked_at_again(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, words = told(profile, capsys)
    assert (status, "no mistakes" in words) == (0, True), words


def test_before_it_is_adopted_the_path_is_looked_for(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slots(profile).state.write_bytes(encode(Slots()))
    status, words = told(profile, capsys)
    assert (status, "there is no file" in words, "gone.edgeai" in words) == (2, True, True), words


def test_a_plain_cart_is_held_to_its_path(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile.write_text(profile.read_text().replace("updates = true", "updates = false"))
    status, words = told(profile, capsys)
    assert (status, "gone.edgeai" in words) == (2, True), words


@pytest.mark.parametrize("what", ["manifest", "folder"])
def test_a_slot_that_stands_and_holds_nothing_is_a_mistake(
    profile: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = slots(profile).content("a")
    (content / "manifest.json").unlink()
    if what == "folder":
        content.rmdir()
    status, words = told(profile, capsys)
    assert status == 2
    assert f"{content} holds no bundle" in words
    assert words.count("slots/guard/a") == 1, "said once"


def test_a_state_that_nobody_can_read_is_a_mistake(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slots(profile).state.write_text("{")
    status, words = told(profile, capsys)
    assert status == 2
    assert "cannot be read" in words
    assert "gone.edgeai" not in words


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("shadow_agreement = 0.9\nshadow_images = 68", "takes 69 images to show"),
        ("shadow_agreement = 1.0", "0.99"),
        ('windows = ["at night"]', "windows"),
    ],
)
def test_a_shadow_that_can_show_nothing_and_a_window_that_is_none_are_mistakes(
    tmp_path: Path, rules: str, told: str
) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(f'schema = 1\n[device]\nid = "cart"\nsite = "lab"\n[updates]\n{rules}\n')
    with pytest.raises(ConfigError, match=told):
        load_config(path)


def test_windows_are_a_list(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    windows = ["mon-fri 22:00-05:30", "sat,sun 00:00-24:00"]
    path.write_text(f'schema = 1\n[device]\nid = "cart"\nsite = "lab"\n[updates]\nwindows = {windows}\n')
    assert list(load_config(path).updates.windows) == windows
