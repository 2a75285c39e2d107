"""Pictures in folders become sets: once each, newest first, with the right panels."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from incontext_lora.incontext.sets.crops import canvas_picture, panel_picture
from incontext_lora.incontext.sets.index import Index
from incontext_lora.incontext.sets.png import LARGEST, SIGNATURE, UnreadablePng, read_header
from incontext_lora.tests.made_sets import canvas, made_prompt, node, panels_of, save, save_set


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    return {"output": tmp_path / "output", "temp": tmp_path / "temp"}


def index_of(roots: dict[str, Path]) -> Index:
    index = Index(lambda name: None)
    index.update(roots)
    return index


def stamp(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_a_set_that_is_saved_whole_and_in_panels_is_one(roots: dict[str, Path]) -> None:
    for number in (1, 2, 3):
        save_set(roots["output"], number)
    stamp(roots["output"] / "made" / "set_00001_.png", 4_000_000_000)
    index = index_of(roots)
    assert index.sets[0].first.name == "set_00001_.png"
    assert {made.first.name for made in index.sets} == {f"set_0000{number}_.png" for number in (1, 2, 3)}
    third = next(made for made in index.sets if made.first.name == "set_00003_.png")
    assert [panel and panel.name for panel in third.panels] == [f"panel_0000{number}_.png" for number in (7, 8, 9)]
    assert (index.unread, index.bare) == (0, 0)


def test_panels_alone_are_a_set(roots: dict[str, Path]) -> None:
    save_set(roots["output"], 1, whole=False)
    (made,) = index_of(roots).sets
    assert made.canvas is None
    assert canvas_picture(roots, made).tobytes() == canvas(1).tobytes()


def test_a_canvas_alone_has_its_panels(roots: dict[str, Path]) -> None:
    save_set(roots["output"], 1, parts=False)
    (made,) = index_of(roots).sets
    cut = [panel_picture(roots, made, index).tobytes() for index in range(3)]
    assert cut == [panel.tobytes() for panel in panels_of(canvas(1))]


@pytest.mark.parametrize(("output", "by_set"), [(0, False), (2, True)])
def test_panels_of_a_batch_come_in_the_order_of_their_output(roots: dict[str, Path], output: int, by_set: bool) -> None:
    prompt = made_prompt(batch=2, node_14=node("SaveImage", images=["13", output], filename_prefix="made/panel"))
    pictures = [canvas(1), canvas(2)]
    cut = [panels_of(picture) for picture in pictures]
    order = (
        [cut[b][p] for b in range(2) for p in range(3)] if by_set else [cut[b][p] for p in range(3) for b in range(2)]
    )
    for number, picture in enumerate(pictures, 1):
        save(roots["output"] / "made" / f"set_{number:05}_.png", picture, prompt)
    for number, panel in enumerate(order, 1):
        save(roots["output"] / "made" / f"panel_{number:05}_.png", panel, prompt)
    sets = sorted(index_of(roots).sets, key=lambda made: made.first.name)
    assert [made.number for made in sets] == [0, 1]
    for made, panels in zip(sets, cut, strict=True):
        assert all(made.panels)
        assert [panel_picture(roots, made, index).tobytes() for index in range(3)] == [
            each.tobytes() for each in panels
        ]


def test_a_panel_whose_neighbours_were_deleted_is_a_picture(roots: dict[str, Path]) -> None:
    save_set(roots["output"], 1, whole=False)
    (roots["output"] / "made" / "panel_00002_.png").unlink()
    sets = index_of(roots).sets
    assert [made.panels for made in sets] == [(), ()]
    assert panel_picture(roots, sets[0], 0).size == (128, 64)


def test_a_preview_of_a_saved_set_is_the_same_set(roots: dict[str, Path]) -> None:
    prompt = made_prompt(node_40=node("PreviewImage", images=["11", 0]))
    save_set(roots["output"], 1, prompt)
    save(roots["temp"] / "ComfyUI_temp_abcde_00001_.png", canvas(1), prompt)
    (made,) = index_of(roots).sets
    assert made.first.root == "output"


def test_changed_and_deleted_files_are_noticed(roots: dict[str, Path]) -> None:
    save_set(roots["output"], 1, parts=False)
    index = index_of(roots)
    kept = index.sets[0]
    save_set(roots["output"], 2, parts=False)
    index.update(roots)
    assert len(index.sets) == 2
    assert index.find(kept.id) is not None
    (roots["output"] / "made" / "set_00001_.png").unlink()
    index.update(roots)
    assert index.find(kept.id) is None
    assert len(index.sets) == 1


def test_reading_stops_and_goes_on_with_the_newest_first(roots: dict[str, Path]) -> None:
    for number in (1, 2, 3):
        save_set(roots["output"], number, parts=False)
        stamp(roots["output"] / "made" / f"set_{number:05}_.png", 1000 * number)
    index = Index(lambda name: None)
    index.update(roots, seconds=-1)
    assert (index.sets, index.unread) == ([], 3)
    index.update(roots, seconds=60)
    assert index.unread == 0
    assert index.sets[0].first.name == "set_00003_.png"


def test_other_pictures_are_not_sets(roots: dict[str, Path]) -> None:
    output = roots["output"]
    save(output / "plain.png", canvas(1))
    save(output / "broken.png", canvas(2), "{not json")
    save(
        output / "other.png",
        canvas(3),
        {"1": node("SaveImage", images=["2", 0], filename_prefix="other"), "2": node("X")},
    )
    canvas(4).save(output / "photo.jpg")
    canvas(5).save(output / "photo.webp")
    (output / "empty.png").write_bytes(b"")
    (output / "cut.png").write_bytes((output / "plain.png").read_bytes()[:30])
    save(roots["temp"] / "shown.png", canvas(6))
    save_set(output / "incontext_runs", 1)
    save_set(output / ".hidden", 1)
    index = index_of(roots)
    assert index.sets == []
    assert index.bare == 6


def test_links_are_not_followed(roots: dict[str, Path], tmp_path: Path) -> None:
    save_set(tmp_path / "outside", 1)
    roots["output"].mkdir()
    try:
        (roots["output"] / "link").symlink_to(tmp_path / "outside")
        (roots["output"] / "set_00001_.png").symlink_to(tmp_path / "outside" / "made" / "set_00001_.png")
    except OSError:
        pytest.skip("this system makes no links")
    assert index_of(roots).sets == []


def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data) if length is None else length)
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


HEAD = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 6, 8, 2, 0, 0, 0))
END = chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (chunk(b"tEXt", b"prompt\0caf\xe9"), "café"),
        (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"packed")), "packed"),
        (chunk(b"iTXt", "prompt\0\0\0\0\0猫".encode()), "猫"),
        (chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress("猫".encode())), "猫"),
        (chunk(b"tEXt", b"prompt\0one") + chunk(b"tEXt", b"prompt\0two"), "one"),
        (chunk(b"tEXt", b"prompt\0" + b"x" * LARGEST), None),
        (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * (LARGEST + 1))), None),
        (chunk(b"zTXt", b"prompt\0\0not packed"), None),
        (chunk(b"iTXt", b"prompt\0\0\0\0\0\xff"), None),
        (chunk(b"iTXt", b"prompt"), None),
        (chunk(b"tEXt", b"other\0text"), None),
    ],
    ids=["latin", "packed", "unicode", "packed unicode", "twice", "huge", "bomb", "damaged", "not UTF-8", "cut", "other"],
)  # fmt: skip
def test_texts_of_a_png(tmp_path: Path, text: bytes, read: str | None) -> None:
    (tmp_path / "a.png").write_bytes(HEAD + text + END)
    header = read_header(tmp_path / "a.png", ("prompt",))
    assert (header.width, header.height) == (5, 6)
    assert header.texts.get("prompt") == read


def test_texts_that_nobody_asked_for_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zlib.compress(b"x" * LARGEST)
    others = chunk(b"zTXt", b"other\0\0" + packed) + chunk(b"iTXt", b"third\0\1\0\0\0" + packed)
    (tmp_path / "a.png").write_bytes(HEAD + chunk(b"tEXt", b"prompt\0one") + others + END)
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("A text was unpacked."))
    assert read_header(tmp_path / "a.png", ("prompt",)).texts == {"prompt": "one"}


DAMAGED = {
    "empty": b"",
    "a GIF": b"GIF89a",
    "no chunk": SIGNATURE,
    "no size": SIGNATURE + END,
    "no pixels": HEAD,
    "cut": HEAD[:20],
    "a text that is cut": HEAD + chunk(b"tEXt", b"prompt", 1000),
    "chunks without end": HEAD + chunk(b"tIME", b"") * 2000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(UnreadablePng):
        read_header(tmp_path / "a.png", ("prompt",))
