from __future__ import annotations

import pytest
from incontext_lora.incontext.dataset.build import checked_name as dataset_name
from incontext_lora.incontext.errors import DatasetError, InContextError, LoraError
from incontext_lora.incontext.files import names
from incontext_lora.incontext.lora.save import checked_name as lora_name
from incontext_lora.training.runs.run_folder import safe_name

DEVICES = [
    *("CON", "con", "Con.txt", "prn", "AUX", "aux .png", "nul", "nul.tar.gz", "NUL  .x"),
    *("COM1", "com0", "LPT9.log", "COM¹", "com².txt", "LPT³ .a", "CONIN$", "conout$.x", "CLOCK$"),
]


@pytest.mark.parametrize("name", DEVICES)
def test_windows_devices_are_refused_in_any_form(name: str) -> None:
    assert "reserved by Windows" in names.problem(name)
    with pytest.raises(LoraError, match="reserved by Windows"):
        lora_name(name)
    with pytest.raises(LoraError, match="reserved by Windows"):
        lora_name(f"styles/{name}")
    with pytest.raises(DatasetError, match="reserved by Windows"):
        dataset_name(name)


@pytest.mark.parametrize("name", ["con", "aux .png", "COM¹", "nul."])
def test_runs_have_no_such_names_either(name: str) -> None:
    with pytest.raises(InContextError, match="reserved by Windows"):
        safe_name(name)


@pytest.mark.parametrize("name", ["aux .safetensors", "con.safetensors", "nul.SAFETENSORS.safetensors"])
def test_an_ending_hides_no_device(name: str) -> None:
    with pytest.raises(LoraError, match="reserved by Windows"):
        lora_name(name)


@pytest.mark.parametrize("name", ["console", "com10", "lpt", "nullify.v2", "auxiliary", "COM¹0", "写真集 1", "café"])
def test_names_that_only_look_like_devices_are_kept(name: str) -> None:
    assert names.problem(name) == ""
    assert lora_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a.", "a ", " a", ".a", "a/b", "a\\b", "a:b", "a\0", "a\x7f", "a\x85", "a\u202eb", "a\ud800"],
)
def test_names_that_some_system_cannot_store_are_refused(name: str) -> None:
    assert names.problem(name)


def test_a_long_name_is_refused_in_a_short_message() -> None:
    for refuse in (lora_name, dataset_name):
        with pytest.raises(InContextError) as refused:
            refuse("x" * 100_000)
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("text", ["x" * 300, "猫" * 300, "a猫🎨" * 100])
def test_a_stem_is_cut_by_the_bytes_that_a_file_system_counts(text: str) -> None:
    stem = names.as_stem(text, 100)
    assert 96 < len(stem.encode()) <= 100
    assert text.replace("🎨", "-").startswith(stem.rstrip("-"))
