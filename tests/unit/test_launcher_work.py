"""The work folder: ComfyUI's base directory with the pack and the demo models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from incontext_lora.launcher.work import demo_fingerprint, model_paths, prepare_base


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWorkFolder:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        folder = tmp_path / "checkout"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        return folder

    def test_has_comfyuis_folders_and_the_pack(self, tmp_path: Path, checkout: Path) -> None:
        prepare_base(tmp_path / "base", checkout)
        expected = ["custom_nodes", "input", "models", "output", "temp", "user"]
        assert names(tmp_path / "base") == expected
        assert (tmp_path / "base" / "custom_nodes" / "incontext-lora" / "__init__.py").is_file()

    def test_a_link_to_another_checkout_is_replaced(self, tmp_path: Path, checkout: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        (other / "precious.txt").write_text("x")
        for target in (other, checkout, checkout):
            prepare_base(tmp_path / "base", target)
        link = tmp_path / "base" / "custom_nodes" / "incontext-lora"
        assert link.resolve() == checkout.resolve()
        assert (other / "precious.txt").exists(), "only the link is removed, never what it points to"

    def test_a_link_whose_checkout_is_gone_is_replaced(self, tmp_path: Path, checkout: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        prepare_base(tmp_path / "base", gone)
        gone.rmdir()
        prepare_base(tmp_path / "base", checkout)
        assert (tmp_path / "base" / "custom_nodes" / "incontext-lora").resolve() == checkout.resolve()

    def test_fingerprint_follows_the_weights(self, tmp_path: Path) -> None:
        (tmp_path / "demo" / "weights").mkdir(parents=True)
        (tmp_path / "demo" / "models.py").write_text("a")
        (tmp_path / "demo" / "weights" / "one").write_bytes(b"1")
        first = demo_fingerprint(tmp_path)
        assert demo_fingerprint(tmp_path) == first
        (tmp_path / "demo" / "weights" / "one").write_bytes(b"2")
        assert demo_fingerprint(tmp_path) != first

    def test_model_paths_use_comfyuis_names(self, tmp_path: Path) -> None:
        for name in ("unet", "diffusion_models", "clip", "loras"):
            (tmp_path / name).mkdir()
        (tmp_path / "a file").write_text("")
        assert json.loads(model_paths(tmp_path)) == {
            "comfyui": {
                "base_path": str(tmp_path),
                "text_encoders": "clip",
                "diffusion_models": "diffusion_models\nunet",
                "loras": "loras",
            }
        }

    def test_model_paths_without_models(self, tmp_path: Path) -> None:
        assert json.loads(model_paths(tmp_path / "none")) == {"comfyui": {"base_path": str(tmp_path / "none")}}
