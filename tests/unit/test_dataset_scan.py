from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.dataset.listing import natural
from incontext_lora.incontext.dataset.options import Shape
from incontext_lora.incontext.dataset.report import Level
from incontext_lora.incontext.dataset.scan import fingerprint, scan
from incontext_lora.incontext.errors import DatasetError
from incontext_lora.tests.dataset_sets import RECIPE, composite, folder_set, folder_sets, joint, numbered_set, picture


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["10.png", "2.png", "1.png", "B 3", "a 20"], key=natural) == [
        "1.png",
        "2.png",
        "10.png",
        "a 20",
        "B 3",
    ]


@given(st.lists(st.text(max_size=8)))
def test_the_natural_order_is_a_total_order(names: list[str]) -> None:
    backwards = list(reversed(names))
    assert sorted(backwards, key=natural) == sorted(names, key=natural)


def test_a_folder_a_set(tmp_path: Path) -> None:
    folder_sets(tmp_path, 11)
    found = scan(tmp_path, RECIPE)
    assert found.shape is Shape.FOLDERS
    assert [files.name for files in found.sets][:3] == ["set-1", "set-2", "set-3"]
    assert found.sets[10].name == "set-11"
    assert [image.name for image in found.sets[0].images] == ["1.png", "2.png", "3.png"]
    assert found.sets[0].joint == tmp_path / "set-1" / "caption.txt"
    assert not found.findings


@pytest.mark.parametrize("place", ["inside", "beside", "only"])
def test_where_the_joint_caption_of_a_folder_may_be(tmp_path: Path, place: str) -> None:
    folder = folder_set(tmp_path, 1)
    target = {"inside": folder / "set-1.txt", "beside": tmp_path / "SET-1.TXT", "only": folder / "words.txt"}[place]
    (folder / "caption.txt").rename(target)
    assert scan(tmp_path, RECIPE).sets[0].joint == target


def test_a_text_for_each_panel_and_a_summary(tmp_path: Path) -> None:
    folder = folder_set(tmp_path, 1)
    (folder / "caption.txt").unlink()
    for name in ("1", "2", "3", "summary"):
        (folder / f"{name}.txt").write_text(name)
    files = scan(tmp_path, RECIPE).sets[0]
    assert [path.name for path in files.panel_texts if path] == ["1.txt", "2.txt", "3.txt"]
    assert files.summary == folder / "summary.txt"
    assert files.joint is None


def test_notes_beside_the_texts_of_the_panels_are_not_a_caption(tmp_path: Path) -> None:
    folder = folder_set(tmp_path, 1)
    (folder / "caption.txt").rename(folder / "notes.txt")
    for name in ("1", "2", "3"):
        (folder / f"{name}.txt").write_text(name)
    files = scan(tmp_path, RECIPE).sets[0]
    assert files.joint is None
    assert files.unused == (folder / "notes.txt",)


def test_images_called_like_the_panels(tmp_path: Path) -> None:
    folder = folder_set(tmp_path, 1)
    for old, new in (("1", "scene-3"), ("2", "Scene-1"), ("3", "SCENE-2")):
        (folder / f"{old}.png").rename(folder / f"{new}.png")
    files = scan(tmp_path, RECIPE).sets[0]
    assert [path.stem.upper() for path in files.images] == ["SCENE-1", "SCENE-2", "SCENE-3"]
    assert not files.findings


def test_images_without_numbers_are_taken_by_name_and_reported(tmp_path: Path) -> None:
    folder = folder_set(tmp_path, 1)
    (folder / "2.png").rename(folder / "middle.png")
    (finding,) = scan(tmp_path, RECIPE).sets[0].findings
    assert finding.level is Level.WARNING
    assert "1.png, 3.png, middle.png" in finding.problem


@pytest.mark.parametrize("other", ["1.jpg", "1.PNG", "01.png"])
def test_two_images_for_one_panel(tmp_path: Path, other: str) -> None:
    folder = folder_set(tmp_path, 1)
    picture(9).save(folder / other)
    if len(list(folder.glob("*.[pjPJ]*"))) < 4:
        pytest.skip("this file system does not tell 1.PNG from 1.png")
    findings = scan(tmp_path, RECIPE).sets[0].findings
    assert [finding.level for finding in findings] == [Level.ERROR]
    assert "twice" in findings[0].problem
    assert other in findings[0].problem


def test_numbered_files(tmp_path: Path) -> None:
    for number in range(1, 4):
        numbered_set(tmp_path, number, name=f"hero{number}")
    found = scan(tmp_path, RECIPE)
    assert found.shape is Shape.NUMBERED
    assert [files.name for files in found.sets] == ["hero1", "hero2", "hero3"]
    assert found.sets[1].joint == tmp_path / "hero2.txt"
    assert [path.name for path in found.sets[1].images] == ["hero2_1.png", "hero2_2.png", "hero2_3.png"]


@pytest.mark.parametrize("written", ["{} {}", "{}-{}", "{}({})", "{}.{}", "{}{:02d}"])
def test_how_numbers_may_be_written(tmp_path: Path, written: str) -> None:
    for number in (1, 2, 3):
        picture(number).save(tmp_path / (written.format("hero", number) + ".png"))
        (tmp_path / (written.format("hero", number) + ".txt")).write_text(f"panel {number}")
    (tmp_path / "hero_summary.txt").write_text("all")
    found = scan(tmp_path, RECIPE)
    assert found.shape is Shape.NUMBERED
    assert found.sets[0].name == "hero"
    assert [path is not None for path in found.sets[0].panel_texts] == [True, True, True]
    assert found.sets[0].summary == tmp_path / "hero_summary.txt"


def test_numbered_files_of_another_number_of_panels_are_still_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in (1, 2):
            picture(number).save(tmp_path / f"{name}_{number}.png")
            (tmp_path / f"{name}_{number}.txt").write_text("text")
    assert scan(tmp_path, RECIPE).shape is Shape.NUMBERED


def test_composites_called_like_numbered_files_are_known_by_their_captions(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        composite(tmp_path, number)
    found = scan(tmp_path, RECIPE)
    assert found.shape is Shape.COMPOSITES
    assert [files.name for files in found.sets] == ["shot_1", "shot_2", "shot_3"]


def test_the_shape_can_be_chosen(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        composite(tmp_path, number)
    found = scan(tmp_path, RECIPE, Shape.NUMBERED)
    assert [len(files.images) for files in found.sets] == [3]


def test_litter_is_ignored_and_the_only_folder_is_entered(tmp_path: Path) -> None:
    inner = tmp_path / "movie-shots"
    for number in range(1, 11):
        composite(inner, number)
    (inner / ".DS_Store").write_bytes(b"\0")
    (inner / "._shot_1.jpg").write_bytes(b"\0")
    (inner / "._shot_1.txt").write_bytes(b"\0")
    (tmp_path / "__MACOSX" / "movie-shots").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "movie-shots" / "._shot_1.jpg").write_bytes(b"\0")
    found = scan(tmp_path, RECIPE)
    assert (found.root, found.shape, len(found.sets)) == (inner, Shape.COMPOSITES, 10)
    assert not found.findings


def test_an_only_folder_that_is_a_set_is_not_entered(tmp_path: Path) -> None:
    folder_set(tmp_path, 1)
    assert scan(tmp_path, RECIPE).shape is Shape.FOLDERS


@pytest.mark.parametrize("texts", ["joint", "each"])
def test_a_set_that_is_given_instead_of_the_folder_of_sets(tmp_path: Path, texts: str) -> None:
    folder = folder_set(tmp_path, 1)
    if texts == "each":
        (folder / "caption.txt").unlink()
        for number in (1, 2, 3):
            (folder / f"{number}.txt").write_text("text")
    found = scan(folder, RECIPE)
    assert (found.shape, len(found.sets), len(found.sets[0].images)) == (Shape.FOLDERS, 1, 3)
    assert "single set" in found.findings[0].problem


def test_composites_with_bare_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        composite(tmp_path, number)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.removeprefix("shot_")))
    assert scan(tmp_path, RECIPE).shape is Shape.COMPOSITES


def test_extensions_in_any_case(tmp_path: Path) -> None:
    folder = folder_set(tmp_path, 1)
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
    files = scan(tmp_path, RECIPE).sets[0]
    assert len(files.images) == 3
    assert files.joint == folder / "caption.TXT"


def test_images_beside_set_folders_are_reported(tmp_path: Path) -> None:
    folder_sets(tmp_path, 2)
    picture(1).save(tmp_path / "stray.png")
    (finding,) = scan(tmp_path, RECIPE).findings
    assert finding.file == "stray.png"


def test_captions_without_an_image_are_reported(tmp_path: Path) -> None:
    composite(tmp_path, 1)
    composite(tmp_path, 2)
    (tmp_path / "shot_2.jpg").unlink()
    (finding,) = scan(tmp_path, RECIPE).findings
    assert finding.file == "shot_2.txt"


def test_an_archive_is_named_where_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "movie-shots.zip").write_bytes(b"PK")
    (finding,) = scan(tmp_path, RECIPE).findings
    assert "npack" in finding.remedy


def test_links_that_lead_in_circles_or_nowhere(tmp_path: Path) -> None:
    folder_sets(tmp_path, 2)
    try:
        (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "itself").symlink_to(tmp_path / "itself")
        (tmp_path / "set-2" / "4.png").symlink_to(tmp_path / "nowhere.png")
    except OSError:
        pytest.skip("links are not allowed here")
    found = scan(tmp_path, RECIPE)
    by_name = {files.name: files for files in found.sets}
    assert by_name["circle"].findings[0].level is Level.ERROR
    assert "link" in by_name["circle"].findings[0].problem
    assert by_name["set-2"].findings[0].file == "set-2/4.png"
    assert len(by_name["set-2"].images) == 3
    fingerprint(tmp_path)


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    sets, elsewhere = tmp_path / "sets", tmp_path / "elsewhere"
    folder_sets(sets, 2)
    folder_sets(elsewhere, 3)
    (sets / "set-2" / "3.png").unlink()
    try:
        (sets / "set-3").symlink_to(elsewhere / "set-3", target_is_directory=True)
        (sets / "set-2" / "3.png").symlink_to(elsewhere / "set-2" / "3.png")
        (sets / "set-2" / "summary.txt").symlink_to(elsewhere / "set-2" / "caption.txt")
        (sets / "set-1" / "4.png").symlink_to(sets / "set-1" / "1.png")
        (tmp_path / "entry").symlink_to(sets, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    for source in (sets, tmp_path / "entry"):
        found = scan(source, RECIPE)
        by_name = {files.name: files for files in found.sets}
        assert [finding.file for finding in found.findings if "outside" in finding.problem] == ["set-3"]
        assert "set-3" not in by_name
        assert [path.name for path in by_name["set-2"].images] == ["1.png", "2.png"]
        assert by_name["set-2"].summary is None
        assert len(by_name["set-1"].images) == 4  # a link within the folder
    before = fingerprint(sets)
    (elsewhere / "set-3" / "caption.txt").write_text("changed", encoding="utf-8")
    assert fingerprint(sets) == before


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that anybody may enter, and the rights of a user who may not do everything."""
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no user ids")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(before)
    shutil.rmtree(folder)


def test_folders_that_may_not_be_read(as_nobody: Path) -> None:
    owner = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    folder_sets(as_nobody, 2)
    closed = folder_set(as_nobody, 3)
    closed.chmod(0)
    os.seteuid(owner)
    try:
        found = scan(as_nobody, RECIPE)
        with pytest.raises(DatasetError, match="cannot be read"):
            scan(closed, RECIPE)
        fingerprint(as_nobody)
    finally:
        os.seteuid(os.getuid())
        closed.chmod(0o755)
    (refused,) = [files for files in found.sets if files.findings]
    assert refused.name == "set-3"
    assert "cannot be read" in refused.findings[0].problem


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        scan(tmp_path / "nowhere", RECIPE)


def test_the_fingerprint_follows_what_is_on_disk(tmp_path: Path) -> None:
    folder_sets(tmp_path, 2)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "set-1" / "caption.txt").write_text(joint(1) + " changed")
    changed = fingerprint(tmp_path)
    assert changed != before
    (tmp_path / "set-2" / "3.png").unlink()
    assert fingerprint(tmp_path) not in (before, changed)
