"""Captions for a folder of sets: nothing is replaced unasked, nothing is lost, and a second run goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from incontext_lora.incontext.captions.describe import answer as answers
from incontext_lora.incontext.captions.describe import client, joint
from incontext_lora.incontext.captions.describe.client import complete
from incontext_lora.incontext.captions.describe.folder import FolderReport, SetCaption, caption_folder
from incontext_lora.incontext.captions.describe.options import CaptionRequest, Existing, Settings
from incontext_lora.incontext.captions.describe.refusal import ServerError
from incontext_lora.incontext.captions.describe.servers import address
from incontext_lora.incontext.dataset.build import build as build_dataset
from incontext_lora.incontext.dataset.options import Shape
from incontext_lora.incontext.errors import DatasetError, VisionError
from incontext_lora.tests.dataset_sets import RECIPE, composite, folder_sets, numbered_set, picture
from incontext_lora.tests.vision_server import Asked, Reply, VisionServer, fails, hangs_up, says

SETTINGS = Settings("seeing-model", timeout=20, side=64)


def counted(number: int) -> str:
    return f"SUMMARY: set {number}\n[SCENE-1] one\n[SCENE-2] two\n[SCENE-3] three"


def caption(number: int) -> str:
    return f"[TOY] set {number} [SCENE-1] one [SCENE-2] two [SCENE-3] three\n"


def numbers() -> Callable[[Asked, VisionServer], Reply | None]:
    """A model that numbers its answers."""
    count = itertools.count(1)
    return lambda asked, server: says(counted(next(count)))(asked, server)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Four sets without captions."""
    folder = folder_sets(tmp_path / "sets", 4)
    for path in folder.glob("*/caption.txt"):
        path.unlink()
    return folder


def run(server: VisionServer, folder: Path, **more: Any) -> FolderReport:
    def described(pictures: Sequence[np.ndarray]) -> SetCaption:
        ask = lambda messages: complete(address(server.url), SETTINGS, messages)  # noqa: E731
        answer = joint.describe(RECIPE, pictures, CaptionRequest(), SETTINGS, ask)
        line = answers.build(RECIPE, answer.parts)
        return SetCaption(line, answers.remarks(RECIPE, answer, line))

    return caption_folder(folder, RECIPE, described, **{"settings": "s", **more})


def captions(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.txt"))}


# --- the three shapes -----------------------------------------------------------------------------------------------


def test_every_set_gets_its_caption_and_build_dataset_takes_them(sets: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with VisionServer(numbers()) as server:
        report = run(server, sets, progress=lambda done, total: steps.append((done, total)))
    assert captions(sets) == {f"set-{n}/caption.txt": caption(n) for n in range(1, 5)}
    assert report.text().splitlines()[0] == "sets: 4 written of 4 sets"
    assert steps == [(n, 4) for n in range(5)]
    assert [len(asked.pictures) for asked in server.questions] == [3] * 4
    dataset = build_dataset(sets, tmp_path / "datasets", RECIPE)
    assert [item.caption for item in dataset.items] == [caption(n).strip() for n in range(1, 5)]


def test_numbered_files(tmp_path: Path) -> None:
    for number in (1, 2):
        numbered_set(tmp_path / "sets", number)
        (tmp_path / "sets" / f"set{number}x.txt").unlink()
    with VisionServer(numbers()) as server:
        report = run(server, tmp_path / "sets")
    assert report.shape is Shape.NUMBERED
    assert captions(tmp_path / "sets") == {f"set{n}x.txt": caption(n) for n in (1, 2)}


def test_composites_are_cut_into_panels(tmp_path: Path) -> None:
    for number in (1, 2):
        composite(tmp_path / "sets", number)
        (tmp_path / "sets" / f"shot_{number}.txt").unlink()
    with VisionServer(numbers()) as server:
        run(server, tmp_path / "sets", shape=Shape.COMPOSITES)
    assert captions(tmp_path / "sets") == {f"shot_{n}.txt": caption(n) for n in (1, 2)}
    assert [len(asked.pictures) for asked in server.questions] == [3, 3]


# --- what is there ----------------------------------------------------------------------------------------------------


def test_captions_that_are_there_are_kept(sets: Path) -> None:
    (sets / "set-1" / "caption.txt").write_text("mine")
    (sets / "set-2" / "caption.txt").write_text(" \n")  # empty: nothing is lost
    for panel in (1, 2, 3):
        (sets / "set-3" / f"{panel}.txt").write_text("by panel")
    (sets / "set-4" / "1.txt").write_text("only one")
    with VisionServer(numbers()) as server:
        report = run(server, sets)
    assert (report.written, report.kept, report.failed) == (1, 3, 0)
    assert (sets / "set-1" / "caption.txt").read_text() == "mine"
    assert (sets / "set-2" / "caption.txt").read_text() == caption(1)
    assert not (sets / "set-3" / "caption.txt").exists()
    assert "set-4: Only some panels have a text" in report.text()


def test_replacing_keeps_what_was_there_beside_it(sets: Path) -> None:
    (sets / "set-1" / "caption.txt").write_text("mine")
    with VisionServer(numbers()) as server:
        report = run(server, sets, existing=Existing.REPLACE)
    assert report.written == 4
    assert (sets / "set-1" / "caption.txt").read_text() == caption(1)
    assert (sets / "set-1" / "caption.txt.bak").read_text() == "mine"
    assert len(list(sets.rglob("*.bak"))) == 1
    assert "set-1: The caption was replaced; the previous one is kept as caption.txt.bak." in report.text()


def test_no_handwritten_caption_is_ever_lost(sets: Path) -> None:
    target = sets / "set-1" / "caption.txt"
    model = numbers()
    target.write_text("first by hand")
    with VisionServer(model) as server:
        run(server, sets, existing=Existing.REPLACE, settings="1")
        run(server, sets, existing=Existing.REPLACE, settings="2")  # replaces its own
        target.write_text("second by hand")
        run(server, sets, existing=Existing.REPLACE, settings="3")
    kept = {path.name: path.read_text() for path in target.parent.glob("*.bak*")}
    assert kept == {"caption.txt.bak": "first by hand", "caption.txt.bak2": "second by hand"}
    assert sorted(sets.rglob("*.bak*")) == sorted(target.parent.glob("*.bak*")), "its own captions need no copy"


def test_a_file_that_is_not_text_is_kept(sets: Path) -> None:
    (sets / "set-1" / "caption.txt").write_bytes(b"\x89PNG\x00\x01\x02\x03\x04")
    with VisionServer(numbers()) as server:
        report = run(server, sets)
    assert (report.written, report.kept) == (3, 1)
    assert (sets / "set-1" / "caption.txt").read_bytes().startswith(b"\x89PNG")


def test_a_caption_that_somebody_writes_meanwhile_is_kept(sets: Path) -> None:
    def slow(asked: Asked, server: VisionServer) -> Reply | None:
        (sets / "set-1" / "caption.txt").write_text("by hand, just now")
        return says(counted(1))(asked, server)

    with VisionServer(slow, numbers()) as server:
        report = run(server, sets)
    assert (report.written, report.failed) == (3, 1)
    assert (sets / "set-1" / "caption.txt").read_text() == "by hand, just now"
    assert "set-1: Someone else wrote a caption in the meantime" in report.text()


# --- stopping and going on ------------------------------------------------------------------------------------------


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("existing", list(Existing))
def test_a_second_run_goes_on_where_the_first_stopped(sets: Path, existing: Existing) -> None:
    (sets / "set-1" / "caption.txt").write_text("mine")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled

    model = numbers()
    with VisionServer(model) as server, pytest.raises(Cancelled):
        run(server, sets, existing=existing, progress=stop)
    before = captions(sets)
    assert set(before) == {"set-1/caption.txt", "set-2/caption.txt"}
    with VisionServer(model) as server:
        report = run(server, sets, existing=existing)
    assert len(server.questions) == 2
    assert report.written == 2
    assert {name: captions(sets)[name] for name in before} == before
    # and a third has nothing to do
    with VisionServer(model) as server:
        report = run(server, sets, existing=existing)
    assert server.asked == []
    assert report.kept + report.same == 4


@pytest.mark.parametrize("change", ["settings", "picture", "caption", "record"])
def test_changed_sets_are_written_again_when_replacing(sets: Path, change: str) -> None:
    model = numbers()
    with VisionServer(model) as server:
        run(server, sets)
    if change == "picture":
        picture(999).save(sets / "set-1" / "2.png")
    elif change == "caption":
        (sets / "set-1" / "caption.txt").write_text("by hand")
    elif change == "record":
        (sets / ".incontext_captions.json").write_text("{")
    with VisionServer(model) as server:
        report = run(server, sets, existing=Existing.REPLACE, settings="others" if change == "settings" else "s")
    assert report.written == (4 if change in ("settings", "record") else 1)
    assert report.same == 4 - report.written


def test_the_record_holds_names_and_digests_only(sets: Path) -> None:
    with VisionServer(numbers()) as server:
        run(server, sets, settings="http://secret.example")
    record = json.loads((sets / ".incontext_captions.json").read_text())
    assert list(record["captions"]) == [f"set-{n}/caption.txt" for n in range(1, 5)]
    assert "secret" not in json.dumps(record)
    assert not [path for path in sets.rglob("*") if ".tmp" in path.name]


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_set_that_fails_does_not_hinder_the_others(sets: Path) -> None:
    (sets / "set-2" / "2.png").write_bytes(b"no picture")
    (sets / "set-3" / "3.png").unlink()
    with VisionServer(numbers()) as server:
        report = run(server, sets)
    assert (report.written, report.failed) == (2, 2)
    text = report.text()
    assert "set-2: 2.png: The file is damaged" in text
    assert "set-3: The set has 2 images; the recipe toy has 3 panels" in text
    assert set(captions(sets)) == {"set-1/caption.txt", "set-4/caption.txt"}


def test_an_answer_that_cannot_be_used_fails_its_set_only(sets: Path) -> None:
    with VisionServer(says("no"), says("no"), fails(400, "too many pictures"), numbers()) as server:
        report = run(server, sets)
    assert (report.written, report.failed) == (2, 2)
    assert "set-1: The model did not describe the panels" in report.text()
    assert "set-2: http://127.0.0.1" in report.text()
    assert "too many pictures" in report.text()


def test_a_lost_server_ends_the_captioning_and_keeps_the_captions(sets: Path) -> None:
    with VisionServer(numbers()) as server:

        def close_after_two(done: int, total: int) -> None:
            if done == 2:
                server.__exit__(None, None, None)

        with pytest.raises(
            ServerError, match=r"(?s)No server is running.*2 of 4 captions were written before that and are kept"
        ):
            run(server, sets, progress=close_after_two)
    assert set(captions(sets)) == {"set-1/caption.txt", "set-2/caption.txt"}


def test_three_failures_of_the_server_in_a_row_are_enough(sets: Path) -> None:
    with VisionServer(hangs_up) as server, pytest.raises(ServerError, match="0 of 4 captions"):
        run(server, sets)
    assert len(server.questions) == 3 * client.TRIES


def test_a_refused_key_ends_it_at_once(sets: Path) -> None:
    with VisionServer(fails(401)) as server, pytest.raises(ServerError, match="refused access"):
        run(server, sets)
    assert len(server.questions) == 1


def test_a_report_of_failures_only_is_an_error(sets: Path) -> None:
    with (
        VisionServer(says("no")) as server,
        pytest.raises(VisionError, match=r"(?s)0 written, 4 failed of 4 sets.*did not"),
    ):
        run(server, sets)


def test_no_sets(tmp_path: Path) -> None:
    with VisionServer(numbers()) as server, pytest.raises(DatasetError, match="no image sets"):
        run(server, tmp_path)
