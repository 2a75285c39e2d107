"""The trainer's environment: which steps install it, and what of them can run here: git, unpacking, remembering, removing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.launcher.errors import SetupError
from incontext_lora.launcher.progress import Progress
from incontext_lora.launcher.trainer import (
    adopt_trainer,
    explain_failure,
    find_interpreter,
    has_git,
    remove_trainer,
    run_install_step,
)
from incontext_lora.training.sd_scripts import environment, fit, install_steps
from incontext_lora.training.sd_scripts.environment import Trainer, TrainerNotInstalled
from incontext_lora.training.sd_scripts.fit import Flavour

REQUIREMENTS = """accelerate==1.6.0
diffusers[torch]==0.32.1
# gradio==3.16.2
bitsandbytes
numpy
# <=2.0
-e .
"""


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
    answer = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, str]:
    """A bare repository laid out as sd-scripts is, one large file of which is absent."""
    work = tmp_path / "work"
    files = {
        "train_network.py": "",
        "flux_train_network.py": "",
        "hunyuan_image_minimal_inference.py": "",
        "flux_minimal_inference.py": "not needed",
        "library/train_util.py": "",
        "networks/lora_flux.py": "",
        "requirements.txt": REQUIREMENTS,
        "LICENSE.md": "licence",
        "docs/guide.md": "not needed",
        "configs/qwen3_06b/tokenizer.json": "large, not needed",
        "windows/large.dll": "absent in the mirror",
        **{path: "" for path in install_steps.NEEDED if path.startswith("configs/")},
    }
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    git(work, "init", "--quiet")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "all")
    git(tmp_path, "clone", "--quiet", "--bare", "--no-hardlinks", str(work), "mirror")
    large = git(work, "rev-parse", "HEAD:windows/large.dll")
    (tmp_path / "mirror" / "objects" / large[:2] / large[2:]).unlink()
    return tmp_path / "mirror", git(work, "rev-parse", "HEAD")


def run_steps(steps: list[install_steps.Step]) -> None:
    for step in steps:
        if not step.optional:
            subprocess.run(step.command, cwd=step.folder, check=True)


class TestCheckout:
    def test_a_mirror_without_its_large_files_suffices(self, source: tuple[Path, str], tmp_path: Path) -> None:
        mirror, commit = source
        before = sorted(str(path) for path in mirror.rglob("*"))
        (tmp_path / "made").mkdir()
        run_steps(install_steps.checkout_steps(str(mirror), commit, tmp_path / "made"))
        checkout = tmp_path / "made" / "sd-scripts"
        assert {path.name for path in checkout.iterdir()} == {
            "LICENSE.md", "configs", "flux_train_network.py", "hunyuan_image_minimal_inference.py", "library", "networks",
            "requirements.txt", "train_network.py",
        }  # fmt: skip
        assert not (checkout / "configs" / "qwen3_06b" / "tokenizer.json").exists()
        assert install_steps.lacking(checkout) == []
        install_steps.remove_leftovers(tmp_path / "made")
        assert [path.name for path in (tmp_path / "made").iterdir()] == ["sd-scripts"]
        (checkout / "hunyuan_image_minimal_inference.py").unlink()
        assert install_steps.lacking(checkout) == ["hunyuan_image_minimal_inference.py"]
        assert before == sorted(str(path) for path in mirror.rglob("*")), "the mirror was written to"

    def test_a_url_is_fetched_at_that_commit_only(self, tmp_path: Path) -> None:
        steps = install_steps.checkout_steps("https://example.com/sd-scripts.git", "a" * 40, tmp_path)
        fetch = next(step for step in steps if "fetch" in step.command)
        assert fetch.command[-2:] == ("https://example.com/sd-scripts.git", "a" * 40)
        assert "--depth=1" in fetch.command

    def test_a_checkout_is_a_source_too(self, source: tuple[Path, str], tmp_path: Path) -> None:
        assert install_steps.git_folder(str(tmp_path / "work")) == tmp_path / "work" / ".git"
        assert install_steps.git_folder(str(source[0])) == source[0]
        assert install_steps.git_folder(str(tmp_path)) is None


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python_without(module: str, path: Path) -> Path:
    """An interpreter that lacks a module, as the portable build's lacks venv, and Debian's ensurepip."""
    hidden = path.parent / f"without-{module}"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(f"raise ImportError('No module named {module}')")
    return executable(path, f'PYTHONPATH="{hidden}" exec "{sys.executable}" "$@"')


class TestInterpreter:
    def test_on_windows_the_launcher_is_asked_too(self) -> None:
        """The portable build's own Python comes first, and is passed over where it cannot make environments."""
        there = {"py": "C:/Windows/py.exe", "python": "C:/Python311/python.exe"}
        found = fit.interpreter_candidates("python_embeded/python.exe", there.get, "win32")
        assert found == [
            ("python_embeded/python.exe",),
            ("C:/Windows/py.exe", "-3.12"),
            ("C:/Windows/py.exe", "-3.11"),
            ("C:/Windows/py.exe", "-3.10"),
            ("C:/Python311/python.exe",),
        ]
        assert fit.interpreter_candidates("python3", there.get, "linux")[1:] == [("C:/Python311/python.exe",)]

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ('{"version": [3, 12], "bits": 64, "path": "/usr/bin/python3.12"}', "/usr/bin/python3.12"),
            (
                'said by a start-up file\n{"version": [3, 10], "bits": 64, "path": "Ü \u6570/python.exe"}\n',
                "Ü 数/python.exe",
            ),
            ('{"version": [3, 13], "bits": 64, "path": "x"}', ""),
            ('{"version": [3, 9], "bits": 64, "path": "x"}', ""),
            ('{"version": [3, 11], "bits": 32, "path": "x"}', ""),
            ("Python was not found; run without arguments to install from the Microsoft Store", ""),
            ("", ""),
        ],
    )
    def test_which_fit(self, answer: str, expected: str) -> None:
        assert fit.fitting_interpreter(answer) == expected

    @pytest.mark.skipif(sys.platform == "win32", reason="the interpreters are shell scripts")
    @pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python is too new to be found")
    @pytest.mark.parametrize("lacking", ["venv", "ensurepip"])
    def test_an_interpreter_that_cannot_make_environments_is_skipped(
        self, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "Ünï côdé 数据"
        folder.mkdir()
        portable = python_without(lacking, folder / "python.exe")
        usable = executable(folder / "python3.10", f'exec "{sys.executable}" "$@"')
        there: dict[str, str] = {"python3.10": str(usable)}
        candidates = fit.interpreter_candidates
        monkeypatch.setattr(fit, "interpreter_candidates", lambda: candidates(str(portable), there.get, "linux"))
        assert find_interpreter() == getattr(sys, "_base_executable", sys.executable)
        there.clear()
        assert find_interpreter() == "", "uv brings one"
        monkeypatch.setattr(sys, "executable", str(python_without("pip", folder / "bare.exe")))
        with pytest.raises(SetupError, match="no pip to fetch one"):
            find_interpreter()

    def test_uv_keeps_everything_in_the_attempt(self, tmp_path: Path) -> None:
        tool, made, seeded, *_ = install_steps.environment_steps("", Flavour(fit.TORCH), tmp_path)
        assert tool.command[-3:] == ("--target", str(tmp_path / "uv"), "uv")
        assert made.command[made.command.index("--python") + 1] == ">=3.10,<3.13"
        assert made.command[-1] == str(tmp_path / "venv")
        assert made.environment == {"UV_PYTHON_INSTALL_DIR": str(tmp_path / "python")}
        assert str(tmp_path / "uv" / "cache") in made.command
        assert seeded.command[-2:] == ("install", "pip")
        assert str(environment.python_of(tmp_path / "venv")) in seeded.command

    def test_a_program_that_is_not_there_is_no_git(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert has_git()
        monkeypatch.setenv("PATH", str(tmp_path))
        assert not has_git()


class TestWhatFits:
    def test_requirements(self) -> None:
        wanted, left_out = fit.requirements(REQUIREMENTS, gpu=False)
        assert wanted == ["accelerate==1.6.0", "diffusers[torch]==0.32.1", "numpy"]
        assert set(left_out) == {"bitsandbytes", "-e ."}
        assert "bitsandbytes" in fit.requirements(REQUIREMENTS, gpu=True)[0]

    @pytest.mark.parametrize(
        ("host", "driver", "expected"),
        [
            (
                {"torch": "2.8.0+cu128", "torchvision": "0.23.0+cu128", "cuda": "12.8", "gpu": True},
                True,
                Flavour(
                    ("torch==2.8.0+cu128", "torchvision==0.23.0+cu128"), "https://download.pytorch.org/whl/cu128", True
                ),
            ),
            ({"torch": "2.14.1+cu130", "cuda": "13.0", "gpu": False}, False, Flavour(fit.TORCH)),
            (None, False, Flavour(fit.TORCH)),
            (None, True, Flavour(fit.TORCH, "https://download.pytorch.org/whl/cu128", True)),
        ],
    )
    def test_torch(self, host: dict[str, Any] | None, driver: bool, expected: Flavour) -> None:
        assert fit.flavour(host, driver) == expected

    def test_on_linux_without_a_card_the_small_torch_is_tried_first(self, tmp_path: Path) -> None:
        fitting = Flavour(fit.TORCH)
        venv, small, whole = install_steps.environment_steps("python3", fitting, tmp_path, "linux")
        assert (venv.optional, small.optional, whole.optional) == (False, True, False)
        assert install_steps.CPU_INDEX in small.command
        assert not [word for word in whole.command if word.startswith("http")]
        assert len(install_steps.environment_steps("python3", fitting, tmp_path, "darwin")) == 2
        card = Flavour(fit.TORCH, "https://download.pytorch.org/whl/cu128", True)
        assert len(install_steps.environment_steps("python3", card, tmp_path, "linux")) == 2

    def test_a_small_disk_is_reported_beforehand(self, tmp_path: Path) -> None:
        fitting = Flavour(fit.TORCH, "https://download.pytorch.org/whl/cu128", True)
        assert fit.space_problem(tmp_path / "not" / "there", fitting, free=10**13) == ""
        sentence = fit.space_problem(tmp_path, fitting, free=10**9)
        assert "needs about 9 GB" in sentence
        assert "1.0 GB are free" in sentence

    def test_paths_that_windows_would_not_take_are_said_beforehand(self) -> None:
        usual = Path("C:/Users/somebody/AppData/Local/incontext-lora/trainer")
        assert environment.length_problem(usual, "win32", enabled=False) == ""
        deep = usual / ("a" * 60)
        assert "enable long paths" in environment.length_problem(deep, "win32", enabled=False)
        assert environment.length_problem(deep, "win32", enabled=True) == ""
        assert environment.length_problem(deep, "linux", enabled=False) == ""

    @pytest.mark.parametrize(
        ("system", "environ", "expected"),
        [
            ("linux", {"XDG_DATA_HOME": "/data"}, "/data/incontext-lora"),
            ("win32", {"LOCALAPPDATA": "/local"}, "/local/incontext-lora"),
            ("linux", {"INCONTEXT_LORA_DATA": "/mine", "XDG_DATA_HOME": "/data"}, "/mine"),
        ],
    )
    def test_data_folder(self, system: str, environ: dict[str, str], expected: str) -> None:
        assert environment.data_folder(environ, system) == Path(expected)


def options(**values: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"python": None, "checkout": None, "source": "", "commit": "", **values})


class TestRemembering:
    def test_found_again_and_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INCONTEXT_LORA_DATA", str(tmp_path / "data"))
        with pytest.raises(TrainerNotInstalled, match="trainer install"):
            environment.find()
        checkout = tmp_path / "sd-scripts"
        checkout.mkdir()
        (checkout / "train_network.py").touch()
        trainer = Trainer(Path(sys.executable), checkout, "c" * 40, False, {"x": "why"})
        environment.remember(trainer)
        assert environment.find() == trainer
        (checkout / "train_network.py").unlink()
        with pytest.raises(TrainerNotInstalled, match="is incomplete"):
            environment.find()
        assert remove_trainer() == 0
        assert not (tmp_path / "data" / "trainer").exists()
        assert checkout.exists()

    def test_an_environment_of_ones_own_is_looked_at_first(self, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="--checkout"):
            adopt_trainer(options(python=Path(sys.executable)))
        with pytest.raises(SetupError, match="does not run"):
            adopt_trainer(options(python=tmp_path / "none", checkout=tmp_path))
        with pytest.raises(SetupError, match=r"which has no .*accelerate"):
            adopt_trainer(options(python=Path(sys.executable), checkout=tmp_path))

    def test_a_damaged_note_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "trainer.json").write_text("{")
        with pytest.raises(TrainerNotInstalled, match="cannot be read"):
            environment.find(tmp_path)
        (tmp_path / "trainer.json").write_text(json.dumps({"python": "x"}))
        with pytest.raises(TrainerNotInstalled, match="cannot be read"):
            environment.find(tmp_path)


class TestSteps:
    def test_a_failed_step_is_a_sentence_with_the_last_lines(self, tmp_path: Path) -> None:
        step = install_steps.Step(
            "Failing", (sys.executable, "-c", "print('the reason'); raise SystemExit(3)"), tmp_path
        )
        with pytest.raises(SetupError, match=r"(?s)Failing failed. The log is .*the reason"):
            run_install_step(step, tmp_path / "log", Progress())

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("fatal: unable to access 'https://x/': Could not resolve host: x", "network could not be reached"),
            ("The network could not be reached for https://x/y.zip: no route.", "network could not be reached"),
            ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ],
    )
    def test_known_reasons(self, tmp_path: Path, said: str, expected: str) -> None:
        step = install_steps.Step("Fetching", (sys.executable, "-c", f"print({said!r}); raise SystemExit(1)"), tmp_path)
        with pytest.raises(SetupError, match=expected):
            run_install_step(step, tmp_path / "log", Progress())

    @pytest.mark.parametrize(
        ("title", "remedy"),
        [
            ("Fetching sd-scripts", "--source or INCONTEXT_LORA_SD_SCRIPTS"),
            ("Fetching uv", "PIP_INDEX_URL"),
            ("Making a virtual environment with Python", "install Python 3.12 yourself"),
            ("Installing torch", "PIP_INDEX_URL"),
            ("Installing the trainer's requirements", "PIP_INDEX_URL"),
            ("Unpacking", "set a proxy (HTTPS_PROXY) (log:"),
        ],
    )
    def test_without_a_network_each_step_has_its_remedy(self, tmp_path: Path, title: str, remedy: str) -> None:
        torch = Flavour(("torch==2.6.0",), "", False)
        steps = [
            *install_steps.checkout_steps("https://example.com/sd-scripts", "0" * 40, tmp_path),
            *install_steps.environment_steps("", torch, tmp_path),
            *install_steps.requirement_steps(["toml"], torch, tmp_path),
        ]
        step = next(step for step in steps if step.title.startswith(title))
        said = explain_failure(step, ["Connection refused"], tmp_path / "log")
        assert remedy in said
        assert said.endswith("The tool said:\n    Connection refused")

    def test_gits_messages_are_in_english(self, tmp_path: Path) -> None:
        step = install_steps.Step(
            "Fetching", (sys.executable, "-c", "import os; print(os.environ['LANGUAGE'])"), tmp_path
        )
        run_install_step(step, tmp_path / "log", Progress())
        assert (tmp_path / "log").read_text().splitlines()[-1] == "C"

    def test_a_missing_program_is_named(self, tmp_path: Path) -> None:
        step = install_steps.Step("Fetching sd-scripts", ("no-such-git", "fetch"), tmp_path)
        with pytest.raises(SetupError, match="no-such-git is not installed; fetching sd-scripts needs it"):
            run_install_step(step, tmp_path / "log", Progress())
