"""What whoever runs ComfyUI allows, from the environment and a file that no page can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.permissions import Permissions


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    assert Permissions.read({}, tmp_path / "settings.json") == Permissions()


def test_variables_and_the_file_add_up(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"hosts": ["Comfy.Example.com."], "folders": [str(tmp_path / "a")]}))
    named = os.pathsep.join([str(tmp_path / "b"), str(tmp_path / "c")])
    environment = {
        "INCONTEXT_LORA_HOSTS": "one.example, two.example",
        "INCONTEXT_LORA_FOLDERS": named,
        "INCONTEXT_LORA_REMOTE_INSTALL": "1",
    }
    allowed = Permissions.read(environment, file)
    assert allowed.hosts == {"comfy.example.com", "one.example", "two.example"}
    assert set(allowed.folders) == {tmp_path / name for name in "abc"}
    assert allowed.remote_install
    file.write_text('{"remote_install": true}')
    assert Permissions.read({}, file).remote_install


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"hosts": "a"}', '{"folders": [1]}', '{"remote_install": 1}', "[" * 99_999, '{"a": NaN}']
)
def test_a_damaged_file_allows_nothing_and_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(InContextError, match=r"settings\.json cannot be"):
        Permissions.read({}, tmp_path / "settings.json")


def test_a_doubtful_answer_is_no_yes() -> None:
    with pytest.raises(InContextError, match="should be 1 or 0"):
        Permissions.read({"INCONTEXT_LORA_REMOTE_INSTALL": "maybe"})
    assert not Permissions.read({"INCONTEXT_LORA_REMOTE_INSTALL": "0"}).remote_install


def test_a_workflow_writes_only_where_it_may(tmp_path: Path) -> None:
    own, other = tmp_path / "output", tmp_path / "sets"
    for folder in (own / "a", other, tmp_path / "output-of-another"):
        folder.mkdir(parents=True)
    Permissions().check_writable(own / "a", (own,))
    for folder in (other, tmp_path, own / ".." / "sets", tmp_path / "output-of-another"):
        with pytest.raises(InContextError, match="INCONTEXT_LORA_FOLDERS="):
            Permissions().check_writable(folder, (own,))
    Permissions(folders=(other,)).check_writable(other, (own,))
    if os.name != "nt":
        (own / "link").symlink_to(other)
        with pytest.raises(InContextError, match="may write nowhere else"):
            Permissions().check_writable(own / "link", (own,))
