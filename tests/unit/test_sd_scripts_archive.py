"""The commit of sd-scripts without git: a real archive from a real server, fetched, checked and unpacked."""

from __future__ import annotations

import http.server
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from incontext_lora.training.sd_scripts import archive, environment, install_steps

COMMIT = "48d368fa557731ad0488c07304dfeba8c07910eb"
TOP = f"sd-scripts-{COMMIT}"


def packed(path: Path, files: dict[str, str], comment: str = COMMIT) -> Path:
    """A zip as GitHub makes it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{TOP}/", "")
        for name, text in files.items():
            made.writestr(name if name.startswith(("/", "..")) else f"{TOP}/{name}", text)
        made.comment = comment.encode()
    return path


class Forge(http.server.BaseHTTPRequestHandler):
    """Answers with what ``answers`` has for the path, the first of several each time until one is left."""

    answers: dict[str, list[tuple[int, bytes, int]]]

    def do_GET(self) -> None:
        left = self.answers.get(self.path, [(404, b"", 0)])
        status, body, missing = left.pop(0) if len(left) > 1 else left[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, list[tuple[int, bytes, int]]]]]:
    """Address of a server, and what it answers: path → (status, body, bytes that it promises beyond those)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    answers: dict[str, list[tuple[int, bytes, int]]] = {}
    monkeypatch.setattr(Forge, "answers", answers, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers
        server.shutdown()


FILES = {
    "library/train_util.py": "# Übung 数\n",
    "library/deep/er.py": "",
    "flux_train_network.py": "",
    "train_network.py": "",
    "requirements.txt": "toml\n",
    "docs/other_train_network.py": "not needed",
    "gen_img.py": "not needed",
}


def test_without_git_the_commit_comes_as_an_archive(
    forge: tuple[str, dict[str, list[tuple[int, bytes, int]]]], tmp_path: Path
) -> None:
    url, answers = forge
    data = packed(tmp_path / "made.zip", FILES).read_bytes()
    answers[f"/kohya-ss/sd-scripts/archive/{COMMIT}.zip"] = [(200, data, 0)]
    folder = tmp_path / "Ünï côdé 数据 with space"
    folder.mkdir()
    steps = install_steps.checkout_steps(f"{url}/kohya-ss/sd-scripts.git", COMMIT, folder, has_git=False)
    assert not any("git" in Path(step.command[0]).name for step in steps)
    for step in steps:
        subprocess.run(step.command, cwd=step.folder, check=True, env={"PATH": "", "NO_PROXY": "*"})
    checkout = folder / "sd-scripts"
    assert sorted(path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()) == [
        "flux_train_network.py", "library/deep/er.py", "library/train_util.py", "requirements.txt", "train_network.py",
    ]  # fmt: skip
    assert (checkout / "library" / "train_util.py").read_text(encoding="utf-8") == "# Übung 数\n"


class TestSources:
    def test_where_forges_offer_a_commit(self) -> None:
        wanted = f"https://github.com/kohya-ss/sd-scripts/archive/{COMMIT}.zip"
        for source in ("https://github.com/kohya-ss/sd-scripts.git", "https://github.com/kohya-ss/sd-scripts/"):
            assert install_steps.archive_url(source, COMMIT, has_git=False) == wanted
            assert install_steps.archive_url(source, COMMIT, has_git=True) == ""
        assert (
            install_steps.archive_url("https://mirror.example/x.zip", COMMIT, has_git=True)
            == "https://mirror.example/x.zip"
        )

    def test_an_archive_on_this_machine(self, tmp_path: Path) -> None:
        made = packed(tmp_path / "got by hand.zip", FILES)
        (step,) = install_steps.checkout_steps(str(made), COMMIT, tmp_path, has_git=False)
        subprocess.run(step.command, check=True)
        assert (tmp_path / "sd-scripts" / "train_network.py").is_file()

    @pytest.mark.parametrize("source", ["git@github.com:kohya-ss/sd-scripts.git", "/a/local/repository"])
    def test_a_source_that_needs_git_is_refused_without_it(self, source: str, tmp_path: Path) -> None:
        with pytest.raises(environment.TrainerNotInstalled, match="can only be read with git, which is not installed"):
            install_steps.checkout_steps(source, COMMIT, tmp_path, has_git=False)


class TestFetch:
    def test_what_is_cut_off_or_refused_for_now_is_fetched_again(
        self, forge: tuple[str, dict[str, list[tuple[int, bytes, int]]]], tmp_path: Path
    ) -> None:
        url, answers = forge
        answers["/x.zip"] = [(503, b"busy", 0), (200, b"half", 100), (200, b"whole", 0)]
        said: list[str] = []
        archive.fetch(f"{url}/x.zip", tmp_path / "x.zip", said.append, pause=0)
        assert (tmp_path / "x.zip").read_bytes() == b"whole"
        assert [line.split(":")[0] for line in said if line.startswith("Retrying")] == ["Retrying", "Retrying"]
        assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]

    def test_a_missing_archive_is_reported_at_once(
        self, forge: tuple[str, dict[str, list[tuple[int, bytes, int]]]], tmp_path: Path
    ) -> None:
        said: list[str] = []
        with pytest.raises(archive.NotUsable, match=r"answered 404 .*Check the source and the commit"):
            archive.fetch(f"{forge[0]}/gone.zip", tmp_path / "x.zip", said.append, pause=0)
        assert (said, list(tmp_path.iterdir())) == ([], [])

    def test_no_network(self, tmp_path: Path) -> None:
        with pytest.raises(archive.NotUsable, match="The network could not be reached"):
            archive.fetch("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", lambda text: None, pause=0)


class TestUnpack:
    def unpack(self, path: Path, folder: Path) -> int:
        return archive.unpack(path, folder / "out", COMMIT, install_steps.NEEDED)

    def test_nothing_is_written_elsewhere(self, tmp_path: Path) -> None:
        odd = packed(
            tmp_path / "odd.zip",
            {
                "library/good.py": "",
                "library/../../../escape.py": "",
                "../library/escape.py": "",
                "/library/escape.py": "",
                "library/..\\..\\escape.py": "",
                "library/C:escape.py": "",
                "library//escape.py": "",
            },
        )
        with zipfile.ZipFile(odd, "a") as made:
            link = zipfile.ZipInfo(f"{TOP}/library/link")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(link, "/etc")
        assert self.unpack(odd, tmp_path) == 1
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["good.py", "odd.zip"]

    def test_another_commit_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(archive.NotUsable, match=f"holds commit {'a' * 40}; expected {COMMIT}"):
            self.unpack(packed(tmp_path / "x.zip", FILES, "a" * 40), tmp_path)
        assert self.unpack(packed(tmp_path / "y.zip", FILES, "packed by hand"), tmp_path) == 5

    def test_damage_is_reported(self, tmp_path: Path) -> None:
        data = bytearray(packed(tmp_path / "x.zip", {"library/a.py": "a = 1\n" * 2000}).read_bytes())
        (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
        middle = data.index(b"library/a.py") + 20
        data[middle] ^= 0xFF
        (tmp_path / "flipped.zip").write_bytes(data)
        (tmp_path / "page.zip").write_text("<html>log in</html>")
        for name in ("cut.zip", "flipped.zip", "page.zip"):
            with pytest.raises(archive.NotUsable, match=f"{name} is damaged"):
                self.unpack(tmp_path / name, tmp_path)

    def test_an_archive_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(archive.NotUsable, match="has none of the files of sd-scripts"):
            self.unpack(packed(tmp_path / "x.zip", {"README": ""}), tmp_path)

    def test_it_unpacks_to_no_more_than_it_should(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "LARGEST", 1000)
        with pytest.raises(archive.NotUsable, match="unpacks to more than"):
            self.unpack(packed(tmp_path / "x.zip", {"library/a.py": "a" * 2000}), tmp_path)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("C:\\data\\x", "\\\\?\\C:\\data\\x"),
        ("\\\\server\\share\\x", "\\\\?\\UNC\\server\\share\\x"),
        ("\\\\?\\C:\\x", "\\\\?\\C:\\x"),
    ],
)
def test_paths_of_any_length(path: str, expected: str) -> None:
    assert archive.extended_path(path, "win32") == expected
    assert archive.extended_path(path, "linux") == path


def test_the_script_says_what_is_wrong_in_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, archive.__file__, "unpack", str(tmp_path / "gone.zip"), str(tmp_path), COMMIT, "library"]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert answer.returncode == 1
    assert "gone.zip cannot be used" in answer.stderr
    assert "Traceback" not in answer.stderr
