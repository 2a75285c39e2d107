"""A second build writes only what changed, and survives interruption and company."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from incontext_lora.incontext.dataset.build import BuildCancelled, build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.options import BuildOptions
from incontext_lora.incontext.panels.choices import Fit
from incontext_lora.tests.dataset_builds import item_files, run_in_process, stamps
from incontext_lora.tests.dataset_sets import RECIPE, folder_sets, joint, picture
from PIL import Image


def test_building_again_does_not_write_items(sets: Path, out: Path) -> None:
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
