from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from incontext_lora.incontext.dataset import (
    BuildCancelled,
    BuildOptions,
    Dataset,
    Finding,
    Level,
    Report,
    Shape,
    build,
    sheet,
)
from incontext_lora.incontext.errors import DatasetError
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import columns, rows
from incontext_lora.incontext.panels.fit import Fit
from incontext_lora.tests.dataset_sets import RECIPE, composite, folder_set, folder_sets, joint, numbered_set, picture
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return folder_sets(tmp_path / "sets", 3)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Identity and time of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def item_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: stamp for name, stamp in stamps(folder).items() if name.startswith(("items/", "masks/"))}


def errors(report: Report) -> dict[str, str]:
    return {finding.set: finding.problem for finding in report.of_level(Level.ERROR)}


def pixels(dataset: Dataset, index: int) -> np.ndarray:
    return np.array(Image.open(dataset.image(dataset.items[index])))


# --- what comes out -------------------------------------------------------------------------------------------------


def test_a_folder_a_set_becomes_composites_with_one_line_captions(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE, BuildOptions(name="toys"))
    assert (dataset.folder, len(dataset), dataset.report.shape) == (out / "toys", 3, "one folder a set")
    expected = np.concatenate([np.array(picture(100 + panel)) for panel in range(3)])
    assert np.array_equal(pixels(dataset, 0), expected)
    assert dataset.text(dataset.items[0]).read_bytes() == joint(1).encode()
    assert all("_" not in path.name for path in dataset.image_folder.iterdir())
    assert dataset.mask_folder is None
    assert not dataset.report.of_level(Level.ERROR)


def test_numbered_files(tmp_path: Path, out: Path) -> None:
    for number in (1, 2):
        numbered_set(tmp_path / "flat", number)
    dataset = build(tmp_path / "flat", out, RECIPE)
    assert (dataset.name, dataset.report.shape, len(dataset)) == ("flat", Shape.NUMBERED.value, 2)
    assert [source.file for source in dataset.items[0].sources] == ["set1x_1.png", "set1x_2.png", "set1x_3.png"]


def test_composites_of_uneven_heights(tmp_path: Path, out: Path) -> None:
    for number, height in enumerate((1440, 1363, 1620, 1441), 1):
        composite(tmp_path / "shots", number, (1080, height))
    (tmp_path / "shots" / ".DS_Store").write_bytes(b"\0")
    dataset = build(tmp_path / "shots", out, RECIPE)
    assert dataset.report.shape == Shape.COMPOSITES.value
    assert [pixels(dataset, index).shape for index in range(4)] == [(192, 128, 3)] * 4
    assert not dataset.report.of_level(Level.ERROR)


def test_masks_are_white_where_panels_are_learned(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    assert dataset.references == (0,)
    for item in dataset.items:
        path = dataset.mask(item)
        assert path is not None
        mask = np.array(Image.open(path))
        assert (mask[:64] == 0).all()
        assert (mask[64:] == 255).all()
    without = build(sets, out, RECIPE)
    assert without.mask(without.items[0]) is None
    assert not list((without.folder / "masks").iterdir())


def test_a_dataset_is_read_again_as_it_was_built(sets: Path, out: Path) -> None:
    folder_set(sets, 4, size=(40, 20))
    (sets / "set-2" / "2.png").write_bytes(b"")
    built = build(sets, out, RECIPE, BuildOptions(fit=Fit.CONTAIN, references=(1,)), count_tokens={"t5xxl": len})
    loaded = Dataset.load(built.folder)
    assert loaded == built
    assert loaded.digest == built.digest
    assert loaded.items[0].tokens == {"t5xxl": len(joint(1))}


def test_the_reports_beside_the_manifest_say_the_same(sets: Path, out: Path) -> None:
    (sets / "set-2" / "caption.txt").unlink()
    dataset = build(sets, out, RECIPE)
    assert (dataset.folder / "report.txt").read_text(encoding="utf-8") == dataset.report.text()
    assert Report.from_json(json.loads((dataset.folder / "report.json").read_text(encoding="utf-8"))) == dataset.report


def test_the_digest_follows_captions_and_recipe(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE).digest
    assert build(sets, out, RECIPE).digest == first
    assert build(sets, out, replace(RECIPE, note="other")).digest != first
    (sets / "set-1" / "caption.txt").write_text(joint(1) + " more")
    assert build(sets, out, RECIPE).digest != first


# --- building again -------------------------------------------------------------------------------------------------


def test_building_again_writes_no_item(sets: Path, out: Path) -> None:
    before = item_files(build(sets, out, RECIPE, BuildOptions(references=(0,))).folder)
    again = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    assert item_files(again.folder) == before
    assert (again.report.written, again.report.kept, again.report.removed) == (0, 3, 0)


@pytest.mark.parametrize("what", ["caption", "image"])
def test_one_change_rewrites_one_item(sets: Path, out: Path, what: str) -> None:
    first = build(sets, out, RECIPE)
    before = item_files(first.folder)
    if what == "caption":
        (sets / "set-2" / "caption.txt").write_text(joint(2) + ", changed")
    else:
        picture(999).save(sets / "set-2" / "2.png")
    second = build(sets, out, RECIPE)
    after = item_files(second.folder)
    old, new = first.items[1].id, second.items[1].id
    assert set(before) - set(after) == {f"items/{old}.png", f"items/{old}.txt"}
    assert set(after) - set(before) == {f"items/{new}.png", f"items/{new}.txt"}
    assert all(after[name] == before[name] for name in set(before) & set(after))
    assert (second.report.written, second.report.kept, second.report.removed) == (1, 2, 1)


@pytest.mark.parametrize(
    "options",
    [
        BuildOptions(fit=Fit.STRETCH),
        BuildOptions(padding=(0, 0, 0)),
        BuildOptions(references=(2,)),
    ],
)
def test_another_option_gives_other_items(sets: Path, out: Path, options: BuildOptions) -> None:
    first = build(sets, out, RECIPE)
    assert not {item.id for item in first.items} & {item.id for item in build(sets, out, RECIPE, options).items}


def test_a_renamed_set_keeps_its_item(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE)
    (sets / "set-1").rename(sets / "first")
    second = build(sets, out, RECIPE)
    assert second.report.written == 0
    assert {item.set: item.id for item in second.items}["first"] == first.items[0].id
    assert {source.file for item in second.items for source in item.sources if item.set == "first"} == {
        "first/1.png",
        "first/2.png",
        "first/3.png",
    }


def test_kept_items_keep_their_remarks(sets: Path, out: Path) -> None:
    picture(5).convert("L").save(sets / "set-1" / "1.png")
    first = build(sets, out, RECIPE).report
    second = build(sets, out, RECIPE).report
    assert second.kept == 3
    assert second.findings == first.findings
    assert [finding.file for finding in first.findings if "grey" in finding.problem] == ["set-1/1.png"]


def test_removed_sets_go_with_what_a_trainer_cached_for_them(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    gone, stays = first.items[2].id, first.items[0].id
    for name in (f"{gone}_0128x0192_flux.npz", f"{stays}_0128x0192_flux.npz", "mine.txt"):
        (first.image_folder / name).write_bytes(b"x")
    shutil.rmtree(sets / "set-3")
    second = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    left = {path.name for folder in ("items", "masks") for path in (second.folder / folder).iterdir()}
    assert not [name for name in left if gone in name]
    assert {f"{stays}_0128x0192_flux.npz", "mine.txt"} <= left


@pytest.mark.parametrize("damage", ["cut", "gone", "text", "mask"])
def test_damaged_items_are_written_again(sets: Path, out: Path, damage: str) -> None:
    dataset = build(sets, out, RECIPE, BuildOptions(references=(0,)))
    image, text, mask = dataset.files(dataset.items[0])
    whole = {path: path.read_bytes() for path in (image, text, mask)}
    if damage == "cut":
        image.write_bytes(whole[image][:100])
    elif damage == "gone":
        image.unlink()
    elif damage == "text":
        text.write_text("other")
    else:
        mask.unlink()
    assert build(sets, out, RECIPE, BuildOptions(references=(0,))).report.written == 1
    assert {path: path.read_bytes() for path in whole} == whole


def test_sources_are_never_written(sets: Path, out: Path) -> None:
    before = stamps(sets)
    build(sets, out, RECIPE, BuildOptions(references=(0,)))
    build(sets, out, RECIPE)
    assert stamps(sets) == before


# --- interruption and company ---------------------------------------------------------------------------------------


def test_a_cancelled_build_leaves_the_dataset_before_it(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE)
    for number in (1, 2, 3):
        (sets / f"set-{number}" / "caption.txt").write_text(joint(number) + " changed")
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(0)
        return len(calls) > 2

    with pytest.raises(BuildCancelled):
        build(sets, out, RECIPE, cancelled=cancelled)
    assert Dataset.load(first.folder) == first
    assert build(sets, out, RECIPE).report.written == 3
    assert len(list((first.folder / "items").iterdir())) == 6


def test_an_exception_of_the_progress_ends_the_build(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE)

    def progress(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(sets, out, replace(RECIPE, prefix="[NEW]"), progress=progress)
    assert Dataset.load(first.folder) == first


def test_progress_counts_sets(sets: Path, out: Path) -> None:
    seen: list[tuple[int, int]] = []
    build(sets, out, RECIPE, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def run_in_process(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    prelude = (
        "import sys, types; from pathlib import Path\n"
        "package = types.ModuleType('incontext_lora'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['incontext_lora'] = package\n"
        "from incontext_lora.incontext.dataset import build, BuildOptions, Dataset\n"
        "from incontext_lora.tests.dataset_sets import RECIPE\n"
    )
    command = [sys.executable, "-c", prelude + code, str(ROOT), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE
    )


def test_a_killed_build_leaves_the_dataset_before_it_and_its_litter_goes(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE, BuildOptions(name="toys"))
    code = (
        "def progress(done, total):\n"
        "    if done == 2:\n"
        "        items = Path(sys.argv[3]) / 'toys' / 'items'\n"
        "        (items / ('.' + 'a' * 32 + '.png.1.tmp')).write_bytes(b'half')\n"
        "        print('ready', flush=True); sys.stdin.read()\n"
        "build(Path(sys.argv[2]), Path(sys.argv[3]), RECIPE, BuildOptions(name='toys', references=(0,)),"
        " progress=progress)\n"
    )
    process = run_in_process(code, sets, out)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    assert Dataset.load(first.folder) == first
    again = build(sets, out, RECIPE, BuildOptions(name="toys"))  # the lock went with the process
    assert (again.report.kept, again.report.written) == (3, 0)
    assert len(list(again.image_folder.iterdir())) == 6
    process.communicate()


def test_builds_at_once_into_one_folder(tmp_path: Path, out: Path) -> None:
    sources = [folder_sets(tmp_path / name, 4) for name in ("one", "two")]
    for number in range(1, 5):
        (sources[1] / f"set-{number}" / "caption.txt").write_text(joint(number) + " other")
    failures: list[BaseException] = []

    def work(source: Path) -> None:
        try:
            for _ in range(4):
                build(source, out, RECIPE, BuildOptions(name="toys"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    code = "for _ in range(3): build(Path(sys.argv[2]), Path(sys.argv[3]), RECIPE, BuildOptions(name='toys'))\n"
    process = run_in_process(code, sources[0], out)
    process.communicate()
    for thread in threads:
        thread.join()
    assert failures == []
    assert process.returncode == 0
    dataset = Dataset.load(out / "toys")
    assert len(list(dataset.image_folder.iterdir())) == 2 * len(dataset) == 8
    for item in dataset.items:
        assert dataset.text(item).read_text() == item.caption
        Image.open(dataset.image(item)).load()


# --- bad sets -------------------------------------------------------------------------------------------------------


def spoil_truncated(folder: Path) -> None:
    path = folder / "2.png"
    path.write_bytes(path.read_bytes()[:-200])


def spoil_animated(folder: Path) -> None:
    picture(1).save(folder / "2.png", save_all=True, append_images=[picture(2)])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "2.png").write_bytes(b""), "empty"),
        (lambda folder: (folder / "2.png").write_bytes(b"no image"), "damaged"),
        (spoil_truncated, "damaged"),
        (spoil_animated, "2 frames"),
        (lambda folder: (folder / "2.png").unlink(), "has 2 images"),
        (lambda folder: picture(1).save(folder / "4.png"), "has 4 images"),
        (lambda folder: picture(1).save(folder / "2.jpg"), "twice"),
        (lambda folder: (folder / "caption.txt").unlink(), "no caption"),
        (lambda folder: (folder / "caption.txt").write_bytes(b"\n"), "empty"),
        (lambda folder: (folder / "caption.txt").write_bytes(b"\0\1\2"), "no text"),
    ],
)
def test_a_bad_set_is_named_and_left_out(sets: Path, out: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(sets / "set-2")
    dataset = build(sets, out, RECIPE)
    assert [item.set for item in dataset.items] == ["set-1", "set-3"]
    (finding,) = dataset.report.of_level(Level.ERROR)
    assert finding.set == "set-2"
    assert said in finding.problem
    assert finding.remedy
    assert str(finding) in dataset.report.text() or finding.problem in dataset.report.text()


def test_everything_wrong_with_a_set_is_said_at_once(sets: Path, out: Path) -> None:
    (sets / "set-2" / "1.png").write_bytes(b"")
    (sets / "set-2" / "3.png").write_bytes(b"no image")
    (sets / "set-2" / "caption.txt").write_bytes(b"")
    report = build(sets, out, RECIPE).report
    assert [finding.file for finding in report.of_level(Level.ERROR)] == [
        "set-2/caption.txt",
        "set-2/1.png",
        "set-2/3.png",
    ]


def test_duplicates_by_bytes_and_by_pixels(sets: Path, out: Path) -> None:
    shutil.copytree(sets / "set-1", sets / "set-4")
    (sets / "set-4" / "caption.txt").write_text(joint(4))
    shutil.copytree(sets / "set-2", sets / "set-5")
    for path in (sets / "set-5").glob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    for _ in range(2):  # the second time all others are kept
        dataset = build(sets, out, RECIPE)
        assert errors(dataset.report) == {
            "set-4": "The set shows the same images as set-1.",
            "set-5": "The set shows the same images as set-2.",
        }
        assert len(list(dataset.image_folder.iterdir())) == 6


def test_a_panel_that_is_there_twice_is_a_warning(sets: Path, out: Path) -> None:
    shutil.copy(sets / "set-1" / "1.png", sets / "set-1" / "2.png")
    report = build(sets, out, RECIPE).report
    assert [finding.set for finding in report.of_level(Level.WARNING) if "same file" in finding.problem] == ["set-1"]


def test_captions_over_the_limit_are_named(sets: Path, out: Path) -> None:
    (sets / "set-3" / "caption.txt").write_text(joint(3) + " word" * 600)
    counters = {"t5xxl": lambda text: len(text.split()), "clip_l": lambda text: 10 * len(text.split())}
    report = build(sets, out, RECIPE, count_tokens=counters).report
    assert [finding.set for finding in report.of_level(Level.WARNING) if "t5xxl" in finding.problem] == ["set-3"]
    assert [finding.problem[:6] for finding in report.of_level(Level.NOTE) if "clip_l" in finding.problem] == ["3 of 3"]


@pytest.mark.parametrize(("count", "warned"), [(19, "memorises"), (20, ""), (100, ""), (101, "no harm")])
def test_outside_the_intended_range_a_warning_says_why(tmp_path: Path, out: Path, count: int, warned: str) -> None:
    recipe = Recipe("tiny", columns(64, 64, 2))
    for number in range(count):
        for panel in (1, 2):
            Image.new("RGB", (32, 64), (number, panel, 0)).save(_made(tmp_path / "sets") / f"s{number}x_{panel}.png")
        (tmp_path / "sets" / f"s{number}x.txt").write_text("A pair. [LEFT] a [RIGHT] b")
    warnings = build(tmp_path / "sets", out, recipe).report.of_level(Level.WARNING)
    assert len(warnings) == bool(warned)
    assert not warned or warned in warnings[0].problem


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_nothing_usable_is_an_error_that_says_what_was_looked_for(sets: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no image sets.*\n?.*Looked for: a folder for each set, with 3 numbered"):
        build(tmp_path / "empty", out, RECIPE)
    for number in (1, 2, 3):
        (sets / f"set-{number}" / "caption.txt").unlink()
    with pytest.raises(DatasetError, match=r"(?s)None of the 3 sets.*set-1, set-2, set-3: The set has no caption"):
        build(sets, out, RECIPE)
    assert not (out / "sets" / "manifest.json").exists()


def test_a_build_without_a_usable_set_leaves_the_dataset_before_it(sets: Path, out: Path) -> None:
    first = build(sets, out, RECIPE)
    with pytest.raises(DatasetError):
        build(sets, out, Recipe("pair", columns(128, 64, 2)))
    assert Dataset.load(first.folder) == first


# --- folders and names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "con", "a:b", " a", "x\n"])
def test_names_that_are_no_folder_everywhere(sets: Path, out: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="cannot be called"):
        build(sets, out, RECIPE, BuildOptions(name=name))


def test_source_and_dataset_may_not_lie_within_each_other(sets: Path, out: Path) -> None:
    with pytest.raises(DatasetError, match="within each other"):
        build(sets, sets, RECIPE, BuildOptions(name="built"))
    dataset = build(sets, out, RECIPE)
    with pytest.raises(DatasetError, match="within each other"):
        build(dataset.image_folder, out, RECIPE, BuildOptions(name="sets"))


def test_a_folder_with_other_files_is_not_taken_over(sets: Path, out: Path) -> None:
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        build(sets, out, RECIPE, BuildOptions(name="mine"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no dataset"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "not the manifest"),
        (lambda folder: edit(folder, version=99), "version 99"),
        (lambda folder: edit(folder, items=[{"id": "../../x"}]), "damaged"),
        (lambda folder: edit(folder, options={}), "damaged"),
        (lambda folder: next((folder / "items").glob("*.png")).unlink(), "missing"),
    ],
)
def test_what_is_no_dataset_is_refused(sets: Path, out: Path, spoil: Callable[[Path], object], said: str) -> None:
    folder = build(sets, out, RECIPE).folder
    spoil(folder)
    with pytest.raises(DatasetError, match=said):
        Dataset.load(folder)


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**data, **changes}), encoding="utf-8")


def test_a_manifest_of_another_version_is_replaced(sets: Path, out: Path) -> None:
    folder = build(sets, out, RECIPE).folder
    edit(folder, version=99)
    assert build(sets, out, RECIPE).report.written == 3
    Dataset.load(folder)


def test_names_of_files_that_are_no_text(sets: Path, out: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    try:
        (sets / "set-1").rename(sets / odd)
    except OSError:
        pytest.skip("this file system takes text only")
    (sets / odd / "1.png").write_bytes(b"")
    (sets / "set-2").rename(sets / (odd + "2"))
    dataset = build(sets, out, RECIPE)
    assert Dataset.load(dataset.folder) == dataset
    assert {item.set for item in dataset.items} == {odd + "2", "set-3"}
    dataset.report.text().encode()
    (sets / odd / "caption.txt").unlink()
    for path in sets.glob("*/caption.txt"):
        path.unlink()
    with pytest.raises(DatasetError) as caught:
        build(sets, out, RECIPE)
    str(caught.value).encode()


NESTED = "(" * 3_000 + "a fox" + ")" * 3_000


def test_one_bad_set_never_ends_a_build(sets: Path, out: Path) -> None:
    """Names and captions that once ended the whole build: here each costs its own set at most."""
    for number in range(4, 10):
        folder_set(sets, number)
    (sets / "set-1").rename(sets / "set\n1\x07")
    (sets / "set-2" / "caption.txt").write_text(f"{NESTED} {joint(2)}", encoding="utf-8")
    (sets / "set-4" / "caption.txt").write_bytes(b"[SCENE-1] \xed\xa0\x80 [SCENE-2] b [SCENE-3] c")
    (sets / "set-5" / "caption.txt").write_bytes(b"[SCENE-1] a\0 [SCENE-2] b [SCENE-3] c")
    (sets / "set-6" / "caption.txt").write_text("[SCENE-1] a " * 20_000, encoding="utf-8")
    (sets / "set-7" / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")

    def count(text: str) -> int:
        if "Set 8" in text:
            raise RecursionError("a tokenizer's own")
        return len(text.split())

    dataset = build(sets, out, RECIPE, count_tokens={"t5xxl": count})
    assert {item.set for item in dataset.items} == {"set\n1\x07", "set-2", "set-3", "set-9"}
    left_out = errors(dataset.report)
    assert set(left_out) == {f"set-{number}" for number in (4, 5, 6, 7, 8)}
    assert "RecursionError" in left_out["set-8"]
    assert Dataset.load(dataset.folder) == dataset
    assert "set\n1" not in dataset.report.text()
    again = build(sets, out, RECIPE, count_tokens={"t5xxl": count})
    assert again.report.kept == 4


@pytest.mark.parametrize(
    "content",
    [
        *("[1]", "null", "[" * 100_000, '{"kind": "incontext dataset", "version": 1e999}', '{"kind": NaN}', "\0"),
        *('{"kind": "incontext dataset", "version": 1}', '{"kind": "incontext dataset", "version": [1]}'),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_our_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError):
        Dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("id", "../../x"), ("id", 5), ("set", None), ("caption", 1), ("sources", {}), ("size", "1"), ("tokens", [])),
        *(("remarks", [5]), ("remarks", [{"level": "loud"}]), ("sources", [{"file": 1}]), ("pixels", ["x"])),
    ],
)
def test_an_item_of_another_form_is_refused(sets: Path, out: Path, place: str, value: object) -> None:
    folder = build(sets, out, RECIPE).folder
    data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    data["items"][0][place] = value
    (folder / "manifest.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DatasetError, match="damaged"):
        Dataset.load(folder)


def test_items_that_are_links_out_of_the_dataset_are_not_read(sets: Path, out: Path, tmp_path: Path) -> None:
    dataset = build(sets, out, RECIPE)
    image = dataset.image(dataset.items[0])
    elsewhere = tmp_path / "private.png"
    image.rename(elsewhere)
    try:
        image.symlink_to(elsewhere)
    except OSError:
        pytest.skip("links are not allowed here")
    with pytest.raises(DatasetError, match="outside the dataset"):
        Dataset.load(dataset.folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_pipes_are_not_waited_for(sets: Path, out: Path) -> None:
    os.mkfifo(sets / "set-1" / "4.png")
    (sets / "set-2" / "caption.txt").unlink()
    os.mkfifo(sets / "set-2" / "caption.txt")
    report = build(sets, out, RECIPE).report
    assert errors(report) == {"set-2": "The set has no caption."}
    assert [finding.file for finding in report.findings if "no file" in finding.problem] == [
        "set-1/4.png",
        "set-2/caption.txt",
    ]


# --- contact sheet, report, memory ----------------------------------------------------------------------------------


def test_the_contact_sheet_shows_every_set(sets: Path, out: Path) -> None:
    dataset = build(sets, out, RECIPE)
    tensor = sheet.read(dataset.contact_sheet)
    assert tensor.shape[0] == 1
    assert tensor.shape[3] == 3
    before = dataset.contact_sheet.stat().st_mtime_ns
    assert build(sets, out, RECIPE).contact_sheet.stat().st_mtime_ns == before
    shutil.rmtree(sets / "set-2")
    assert build(sets, out, RECIPE).contact_sheet.stat().st_mtime_ns != before


@pytest.mark.parametrize("count", [1, 20, 100, 3000])
@pytest.mark.parametrize("proportions", [0.5, 1.0, 3.0])
def test_the_contact_sheet_stays_bounded(tmp_path: Path, count: int, proportions: float) -> None:
    path = tmp_path / "a.png"
    picture(1, (64, round(64 / proportions))).save(path)
    data = sheet.contact_sheet((("名前 set", path) for _ in range(count)), count, proportions)
    (tmp_path / "sheet.jpg").write_bytes(data)
    width, height = Image.open(tmp_path / "sheet.jpg").size
    assert width <= sheet.LARGEST[0]
    assert height <= sheet.LARGEST[1]


def test_findings_that_sets_share_become_one_line() -> None:
    findings = [Finding(Level.NOTE, "Converted.", set=f"set-{number}") for number in range(20)]
    text = Report("toys", "/sets", "one folder a set", 20, 20, 20, 0, 0, tuple(findings)).text()
    assert text.count("Converted.") == 1
    assert "set-0, set-1" in text
    assert "and 12 more" in text


PEAK = (
    "import resource\n"
    "build(Path(sys.argv[2]), Path(sys.argv[3]), RECIPE, BuildOptions(name='toys'))\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured in Linux's units")
def test_memory_does_not_grow_with_the_number_of_sets(tmp_path: Path, out: Path) -> None:
    def peak(count: int) -> float:
        source = folder_sets(tmp_path / f"sets-{count}", count, size=(768, 384))
        process = run_in_process(PEAK, source, out / str(count))
        output, _ = process.communicate()
        assert process.returncode == 0
        return int(output) / 1024

    few, many = peak(10), peak(60)
    # the contact sheet grows up to 25 MB and no further; 50 more sets hold 127 MB of pixels
    assert many - few < 32, f"{few:.0f} MB for 10 sets, {many:.0f} MB for 60"


def test_another_layout_is_another_dataset(sets: Path, out: Path) -> None:
    wide = replace(RECIPE, layout=rows(256, 192, 3))
    dataset = build(sets, out, wide)
    assert pixels(dataset, 0).shape == (192, 256, 3)
