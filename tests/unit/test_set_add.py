"""A set is added to a folder as a whole or not at all, and nothing there is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from incontext_lora.incontext.errors import SetError
from incontext_lora.incontext.sets import add
from incontext_lora.tests.busy_files import BusyFile

PANELS = [b"one", b"two", b"three"]


def test_a_new_folder_gets_its_first_set(tmp_path: Path) -> None:
    added = add.add_set(tmp_path / "heroes", "set_00001_", PANELS, r"[TOY] a \(b\) [SCENE-1] c")
    assert (added.name, added.count, added.is_new) == ("set_00001", 1, True)
    folder = tmp_path / "heroes" / "set_00001"
    assert sorted(each.name for each in folder.iterdir()) == ["1.png", "2.png", "3.png", "caption.txt"]
    assert (folder / "2.png").read_bytes() == b"two"
    assert (folder / "caption.txt").read_text() == "[TOY] a (b) [SCENE-1] c\n"


def test_another_set_of_the_same_name_gets_a_number_and_the_same_set_is_there_once(tmp_path: Path) -> None:
    first = add.add_set(tmp_path, "set", PANELS, "a")
    second = add.add_set(tmp_path, "set", PANELS, "b")
    again = add.add_set(tmp_path, "other", PANELS, "a")
    assert (first.name, second.name, second.count) == ("set", "set-2", 2)
    assert (again.name, again.count, again.is_new) == ("set", 2, False)


@pytest.mark.parametrize("name", ["", "..", "CON", "a/b", "x" * 500, "../../out", "\0", "猫"])
def test_any_name_becomes_one_folder(tmp_path: Path, name: str) -> None:
    added = add.add_set(tmp_path / "sets", name, PANELS, "a")
    assert (tmp_path / "sets" / added.name / "1.png").is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["sets"]


def test_a_set_without_a_caption_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetError, match="does not contain its caption"):
        add.add_set(tmp_path / "sets", "set", PANELS, " ")
    assert not (tmp_path / "sets").exists()


def test_sets_of_another_form_are_not_mixed(tmp_path: Path) -> None:
    add.add_set(tmp_path, "set", PANELS, "a")
    with pytest.raises(SetError, match=r"has 2 panels.*\(3 in "):
        add.add_set(tmp_path, "set", PANELS[:2], "a")
    (tmp_path / "composite.png").write_bytes(b"")
    with pytest.raises(SetError, match="not in one folder per set"):
        add.add_set(tmp_path, "set", PANELS, "c")
    assert add.count_sets(tmp_path) == 1


def test_a_folder_that_a_virus_scanner_holds_is_published_when_it_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = BusyFile(monkeypatch, "rename")
    assert add.add_set(tmp_path, "set", PANELS, "a").name == "set"
    assert busy.refusals == 0
    assert [each.name for each in tmp_path.iterdir()] == ["set"]


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "3.png":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SetError, match="No space left"):
        add.add_set(tmp_path, "set", PANELS, "a")
    assert list(tmp_path.iterdir()) == []
