"""The captioning nodes as ComfyUI runs them, with a real server of the protocol."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.captions.describe import client
from incontext_lora.incontext.captions.describe.answer import AnswerError
from incontext_lora.incontext.captions.describe.servers import BASE, FILE, KEY
from incontext_lora.incontext.errors import InContextError, PanelError, VisionError
from incontext_lora.incontext.lora import tasks
from incontext_lora.tests.dataset_sets import RECIPE, folder_set, folder_sets
from incontext_lora.tests.vision_server import VisionServer, fails, hangs, says

if TYPE_CHECKING:
    from conftest import HostPack

GOOD = "SUMMARY: three cups (red)\n[SCENE-1] <Leo> pours\n[SCENE-2] Leo drinks\n[SCENE-3] an empty cup"
CAPTION = "[TOY] three cups (red) [SCENE-1] <Leo> pours [SCENE-2] <Leo> drinks [SCENE-3] an empty cup"
SECRET = "sk-0123456789abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    for name in (KEY, BASE, "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def panels() -> torch.Tensor:
    """[3, 64, 128, 3]: black, grey, white."""
    return torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 64, 128, 3).clone()


def ask(host: HostPack, server: VisionServer, **more: Any) -> tuple[Any, ...]:
    inputs = {"recipe": RECIPE, "images": panels(), "base_url": server.url, "model": "seeing-model", **more}
    return host.call("InContextCaptionPanels", **inputs)


# --- Caption Panels -------------------------------------------------------------------------------------------------


def test_a_batch_is_described_as_one_set(host: HostPack) -> None:
    host.sent()
    with VisionServer(says(GOOD)) as server:
        caption, summary, texts, report = ask(host, server, names="Mia", hint="it is tea", side=128)
    assert caption == CAPTION.replace("(red)", "\\(red\\)")
    assert summary == "three cups (red)"
    assert texts == ["<Leo> pours", "<Leo> drinks", "an empty cup"]
    assert report == ""
    (asked,) = server.questions
    assert [picture.getpixel((0, 0)) for picture in asked.pictures] == [(value,) * 3 for value in (0, 128, 255)]
    assert "it is tea" in asked.texts[0]
    assert "<Mia>" in asked.texts[0]
    told = [str(data) for _, data in host.sent()]
    assert any("waiting for seeing-model" in text for text in told)
    # on the node, where the page takes it for HTML
    assert any("&lt;Leo&gt; pours" in text for text in told)
    assert not any("<Leo>" in text for text in told)


def test_a_list_and_a_whole_canvas_are_described_too(host: HostPack) -> None:
    several = [panel[None] for panel in panels()]
    several[1] = several[1][:, :32, :100]
    canvas = torch.cat(list(panels()), dim=0)[None]
    with VisionServer(says(GOOD)) as server:
        assert ask(host, server, images=several, escape_parentheses=False)[0] == CAPTION
        assert ask(host, server, images=canvas, escape_parentheses=False)[0] == CAPTION
        with pytest.raises(PanelError, match="2 pictures for 3 panels"):
            ask(host, server, images=panels()[:2])
    assert [[picture.size for picture in asked.pictures] for asked in server.questions] == [
        [(128, 64), (100, 32), (128, 64)],
        [(128, 64)] * 3,
    ]


def test_one_picture_of_all_panels(host: HostPack) -> None:
    with VisionServer(says(GOOD)) as server:
        ask(host, server, pictures="one picture of all panels", side=192)
        with pytest.raises(ValueError, match="film"):
            ask(host, server, pictures="a film")
    (asked,) = server.questions
    assert [picture.size for picture in asked.pictures] == [(128, 192)]


def test_repairs_are_in_the_report(host: HostPack) -> None:
    with VisionServer(says("Three cups."), says(f"Of course!\n{GOOD}")) as server:
        *_, report = ask(host, server)
    assert report.splitlines() == [
        "Asked twice. The model did not describe the panels.",
        "Text before the summary was left out: “Of course!”.",
    ]


def test_errors_reach_the_user_in_words(host: HostPack) -> None:
    with VisionServer(fails(500, "out of memory")) as server, pytest.raises(VisionError, match="out of memory"):
        ask(host, server)
    with (
        VisionServer(says(GOOD)) as server,
        pytest.raises(VisionError, match=r"no model 'other'.*Its models: seeing-model"),
    ):
        ask(host, server, model="other")


def test_cancel_is_heard_within_a_second(host: HostPack) -> None:
    import comfy.model_management as management

    def cancel() -> None:
        management.interrupt_current_processing(True)
        times.append(time.monotonic())

    times: list[float] = []
    timer = threading.Timer(0.4, cancel)
    with VisionServer(hangs) as server:
        timer.start()
        try:
            with pytest.raises(management.InterruptProcessingException):
                ask(host, server)
            assert time.monotonic() - times[0] < 1
        finally:
            timer.join()
            management.interrupt_current_processing(False)
    assert len(server.questions) == 1


# --- keys -----------------------------------------------------------------------------------------------------------


def test_no_widget_takes_a_key(host: HostPack) -> None:
    for name in ("InContextCaptionPanels", "InContextCaptionDataset"):
        described = host.node(name).INPUT_TYPES()
        names = {*described.get("required", {}), *described.get("optional", {})}
        assert not [each for each in names if "key" in each or "secret" in each or "password" in each]


def test_a_strangers_workflow_gets_no_key_and_no_pictures(host: HostPack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv(KEY, SECRET)
    with VisionServer(says(GOOD)) as server:
        ask(host, server)
        assert "authorization" not in server.questions[0].headers
        with pytest.raises(VisionError, match=r"evil\.example/v1 is not on this machine") as error:
            ask(host, server, base_url="https://evil.example/v1")
    assert SECRET not in str(error.value)


def test_the_key_of_the_environment_goes_to_its_server(host: HostPack, monkeypatch: pytest.MonkeyPatch) -> None:
    with VisionServer(says(GOOD)) as named, VisionServer(says(GOOD)) as other:
        monkeypatch.setenv(KEY, SECRET)
        monkeypatch.setenv(BASE, named.url)
        ask(host, named)
        ask(host, other)
    assert named.questions[0].headers["authorization"] == f"Bearer {SECRET}"
    assert "authorization" not in other.questions[0].headers


def test_the_key_of_the_file_is_read_where_no_page_can_read_it(host: HostPack) -> None:
    import folder_paths

    folder = Path(folder_paths.get_system_user_directory("incontext_lora"))
    assert folder_paths.get_public_user_directory(folder.name) is None, "ComfyUI serves this folder"
    folder.mkdir(parents=True, exist_ok=True)
    with VisionServer(says(GOOD)) as server:
        (folder / FILE).write_text(f'{{"{server.url}": "{SECRET}"}}')
        try:
            ask(host, server)
        finally:
            (folder / FILE).unlink()
    assert server.questions[0].headers["authorization"] == f"Bearer {SECRET}"


# --- Caption Dataset ------------------------------------------------------------------------------------------------


@pytest.fixture
def sets(host: HostPack, request: pytest.FixtureRequest) -> Path:
    folder = folder_sets(host.base / "input" / request.node.name, 3)
    for path in folder.glob("*/caption.txt"):
        path.unlink()
    return folder


def caption_dataset(host: HostPack, server: VisionServer, folder: Path | str, **more: Any) -> tuple[Any, ...]:
    written = folder if isinstance(folder, str) else folder.name
    inputs = {"recipe": RECIPE, "folder": written, "base_url": server.url, "model": "seeing-model", **more}
    return host.call("InContextCaptionDataset", **inputs)


def test_a_folder_is_captioned_and_then_built(host: HostPack, sets: Path) -> None:
    node = host.node("InContextCaptionDataset")
    fingerprint = node.fingerprint_inputs(folder=sets.name)
    host.sent()
    with VisionServer(says(GOOD)) as server:
        folder, report, count = caption_dataset(host, server, sets)
    assert (folder, count) == (str(sets), 3)
    assert report == f"{sets.name}: 3 written of 3 sets\nFolder: {sets} (read as one folder a set)\n"
    assert (sets / "set-2" / "caption.txt").read_text() == CAPTION + "\n"
    assert node.fingerprint_inputs(folder=sets.name) != fingerprint
    events = host.sent()
    assert any("1 of 3 sets, waiting for seeing-model" in str(data) for _, data in events)
    dataset, *_ = host.call("InContextBuildDataset", folder=folder, name="captioned", recipe=RECIPE)
    assert {item.caption for item in dataset.items} == {CAPTION}


def test_a_wired_folder_is_looked_at_although_comfyui_does_not_tell_it(host: HostPack, sets: Path) -> None:
    fingerprint = host.node("InContextCaptionDataset").fingerprint_inputs
    before = fingerprint(folder=None)
    with VisionServer(says(GOOD)) as server:
        caption_dataset(host, server, sets)
    assert fingerprint(folder=None) == before  # what the node itself wrote does not count
    folder_set(sets, 9)
    after = fingerprint(folder=None)
    assert after != before
    assert fingerprint(folder=None) == after


def test_a_second_run_keeps_and_replacing_is_a_choice(host: HostPack, sets: Path) -> None:
    (sets / "set-1" / "caption.txt").write_text("mine")
    with VisionServer(says(GOOD)) as server:
        assert caption_dataset(host, server, sets)[2] == 2
        assert caption_dataset(host, server, sets)[2] == 0
        assert (sets / "set-1" / "caption.txt").read_text() == "mine"
        assert caption_dataset(host, server, sets, existing="replace")[2] == 1
        assert caption_dataset(host, server, sets, existing="replace")[2] == 0
        assert caption_dataset(host, server, sets, existing="replace", seed=1)[2] == 3
    assert (sets / "set-1" / "caption.txt.bak").exists()


def test_cancel_keeps_what_is_written(host: HostPack, sets: Path) -> None:
    import comfy.model_management as management

    with VisionServer(says(GOOD), hangs) as server:

        def cancel_when_asked_twice() -> None:
            until = time.monotonic() + 30
            while len(server.questions) < 2 and time.monotonic() < until:
                time.sleep(0.02)
            management.interrupt_current_processing(True)

        thread = threading.Thread(target=cancel_when_asked_twice, daemon=True)
        thread.start()
        try:
            with pytest.raises(management.InterruptProcessingException):
                caption_dataset(host, server, sets)
        finally:
            thread.join()
            management.interrupt_current_processing(False)
    assert [path.parent.name for path in sets.rglob("caption.txt")] == ["set-1"]


def test_choices_and_folders_are_checked(host: HostPack, sets: Path) -> None:
    with VisionServer(says(GOOD)) as server:
        with pytest.raises(InContextError, match="no folder"):
            caption_dataset(host, server, Path("not-there"))
        with pytest.raises(ValueError, match="sometimes"):
            caption_dataset(host, server, sets, existing="sometimes")
    assert server.asked == []


def test_captions_are_written_only_where_a_workflow_may(
    host: HostPack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INCONTEXT_LORA_FOLDERS", raising=False)
    folder_sets(tmp_path / "elsewhere", 1)
    (tmp_path / "elsewhere" / "set-1" / "caption.txt").unlink()
    (host.base / "input" / "linked").symlink_to(tmp_path / "elsewhere")
    with VisionServer(says(GOOD)) as server:
        for folder in (str(tmp_path / "elsewhere"), "linked"):
            with pytest.raises(InContextError, match="INCONTEXT_LORA_FOLDERS="):
                caption_dataset(host, server, folder)
        assert server.asked == []
        monkeypatch.setenv("INCONTEXT_LORA_FOLDERS", str(tmp_path))
        assert caption_dataset(host, server, str(tmp_path / "elsewhere"))[2] == 1
    assert (tmp_path / "elsewhere" / "set-1" / "caption.txt").exists()


# --- by way of another node -----------------------------------------------------------------------------------------


def test_the_instruction_and_the_answer_of_another_node(host: HostPack) -> None:
    (text,) = host.call("InContextCaptionInstruction", recipe=RECIPE, names="Mia")
    assert "The picture has 3 panels" in text
    assert text.endswith("SUMMARY: …\n[SCENE-1] …\n[SCENE-2] …\n[SCENE-3] …")
    (each,) = host.call("InContextCaptionInstruction", recipe=RECIPE, pictures="one picture a panel")
    assert "The 3 pictures are panels" in each
    with pytest.raises(ValueError, match="both"):
        host.call("InContextCaptionInstruction", recipe=RECIPE, pictures="both")
    caption, summary, texts, report = host.call(
        "InContextReadCaption", recipe=RECIPE, answer=f"<think>hm</think>```\n{GOOD}\n```", escape_parentheses=False
    )
    assert (caption, summary, report) == (
        CAPTION,
        "three cups (red)",
        "ComfyUI reads (parentheses) as emphasis. Escape them, \\( \\), if they are meant as text.",
    )
    assert texts == ["<Leo> pours", "<Leo> drinks", "an empty cup"]
    with pytest.raises(AnswerError, match="did not describe"):
        host.call("InContextReadCaption", recipe=RECIPE, answer="no")


def test_a_joint_caption_is_split(host: HostPack) -> None:
    story = tasks.recipe("film-storyboard")
    line = "[MOVIE-SHOTS] <Leo> at sea \\(at night\\) [SCENE-1] a [SCENE-2] b [SCENE-3] c"
    caption, summary, texts, report = host.call("InContextReadCaption", recipe=story, answer=line)
    assert caption == line
    assert (summary, texts, report) == ("<Leo> at sea \\(at night\\)", ["a", "b", "c"], "")
