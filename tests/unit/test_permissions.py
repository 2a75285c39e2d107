"""What whoever runs ComfyUI allows, from the environment and a file that no page can read."""

from __future__ import annotations

import json
import os
from pathlib import Path, PureWindowsPath

import pytest
from incontext_lora.incontext import permissions
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.permissions import NotAllowed, Permissions, is_remote


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


def test_a_doubtful_answer_does_not_count_as_yes() -> None:
    with pytest.raises(InContextError, match="should be 1 or 0"):
        Permissions.read({"INCONTEXT_LORA_REMOTE_INSTALL": "maybe"})
    assert not Permissions.read({"INCONTEXT_LORA_REMOTE_INSTALL": "0"}).remote_install


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """ComfyUI's input folder, beside folders that a workflow must not reach."""
    for folder in ("input/sets", "input-of-another", "other/sets"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path / "input"


@pytest.mark.parametrize("name", [".", "sets", "sets/../sets", "not/there", "..gone", "x" * 5000])
def test_a_workflow_uses_comfyuis_own_folders(own: Path, name: str) -> None:
    Permissions().check_folder(own / name, (own,))


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../other",
        "../input-of-another",
        "sets/../../other",
        "../input/../other/sets",
        "../" * 60 + "etc",
        "/",
        "/etc",
    ],
)
def test_a_workflow_uses_no_others(own: Path, name: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        Permissions().check_folder(own / name, (own, own.parent / "output"))
    real = os.path.realpath(own / name)
    assert str(refused.value).startswith(
        f"A workflow may come from a stranger, so it can only use folders in {own} or {own.parent / 'output'}; {real} is"
    )
    assert f"set INCONTEXT_LORA_FOLDERS={real} in the environment" in str(refused.value)


@pytest.mark.parametrize("name", ["a\ud800b", "a\0b", "a\nb", "x/" * 3000, "\u202etxt"])
def test_an_odd_path_makes_a_message_that_can_be_shown(own: Path, name: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        Permissions().check_folder(own.parent / name, (own,))
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 1500


def test_others_only_where_they_were_allowed(own: Path) -> None:
    other = own.parent / "other"
    for allowed in (Permissions(folders=(other,)), Permissions.read({"INCONTEXT_LORA_FOLDERS": str(other)})):
        for folder in (other, other / "sets", own / ".." / "other"):
            allowed.check_folder(folder, (own,))
        for folder in (own.parent, own.parent / "input-of-another", other / ".."):
            with pytest.raises(NotAllowed):
                allowed.check_folder(folder, (own,))


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_links_are_followed_before_judging(own: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (own / "link").symlink_to(other)
    (own / "loop").symlink_to(own / "loop")
    for name in ("link", "link/sets", "link/../input/sets/../../other"):
        with pytest.raises(NotAllowed, match=str(other)):
            Permissions().check_folder(own / name, (own,))
    Permissions(folders=(other,)).check_folder(own / "link" / "sets", (own,))
    Permissions().check_folder(own / "loop", (own,))  # it leads nowhere

    # ComfyUI's own folder, and an allowed one, may be links
    (tmp_path / "linked-input").symlink_to(own)
    Permissions().check_folder(tmp_path / "linked-input" / "sets", (tmp_path / "linked-input",))
    Permissions().check_folder(own / "sets", (tmp_path / "linked-input",))
    Permissions(folders=(own / "link",)).check_folder(other / "sets", (own,))


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        (r"\\server\share\sets", True),
        ("//server/share/sets", True),
        (r"\\?\UNC\server\share", True),
        (r"\\.\pipe\name", True),
        (r"D:\sets", False),
        ("D:sets", False),
        (r"\sets", False),
        ("sets", False),
    ],
)
def test_what_windows_would_ask_another_machine_for(path: str, remote: bool) -> None:
    assert is_remote(PureWindowsPath(path)) == remote


def test_another_machine_is_not_even_looked_at(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    realpath = os.path.realpath
    monkeypatch.setattr(permissions, "is_remote", lambda path: "server" in path.parts)
    monkeypatch.setattr(os.path, "realpath", lambda path: (looked.append(str(path)), realpath(path))[1])
    share = own.parent / "server" / "share"
    with pytest.raises(NotAllowed):
        Permissions().check_folder(share / "sets", (own,))
    assert looked == [str(own)]
    Permissions(folders=(share,)).check_folder(share / "sets", (own,))


def test_an_allowed_folder_is_a_whole_path() -> None:
    with pytest.raises(NotAllowed, match="allows the folder 'sets'; write its whole path"):
        Permissions.read({"INCONTEXT_LORA_FOLDERS": "sets"})
