"""Run by the trainer's interpreter: the checkout's own trainer with its own classes at sizes that a CPU trains in seconds.

    python tiny.py write CHECKOUT ARCHITECTURE FOLDER     the model files, as ComfyUI's folders would hold them
    python tiny.py CHECKOUT JOB_FOLDER                    the pack's runner, with the sizes put in place
    python tiny.py bare CHECKOUT JOB_FOLDER               the same job without the runner; prints the seconds its steps took

Sizes only: every class, loader, cache, loss and file is the real one. (The one exception is Gemma's tokenizer, which asks
for an account; T5's takes its place.)
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).resolve().parents[2] / "training" / "sd_scripts" / "runner" / "__main__.py"
WIDTH = 64  # of the hidden state
TOO_LARGE = "TINY_SAMPLES_TOO_LARGE"  # in the environment: no sample fits into memory
FULL_DISK = "TINY_FULL_DISK"  # in the environment: a file; while it is there, nothing fits on the disk
BYT5_WIDTH = 1472  # its own, which HunyuanImage's trainer has in the midst of its code


import_runner: Callable[[str], Any] = runpy.run_path(str(RUNNER))["import_runner"]


def t5_config(width: int, words: int = 32128) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=words, d_model=width, d_kv=32, d_ff=64, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
        is_encoder_decoder=False, tie_word_embeddings=False,
    )  # fmt: skip


def clip_config(width: int, layers: int = 2) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        max_position_embeddings=77, projection_dim=width, pad_token_id=1, bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip


def gemma_config() -> Any:
    from transformers import Gemma2Config

    return Gemma2Config(
        vocab_size=32128, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=32, pad_token_id=0,
    )  # fmt: skip


def qwen_vl_config() -> Any:
    from transformers import Qwen2_5_VLConfig

    text = {
        "vocab_size": 152064, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
        "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [4, 6, 6]},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, vision_start_token_id=151652)


def qwen3_config() -> Any:
    from transformers.models.qwen3 import Qwen3Config

    return Qwen3Config(
        vocab_size=151936, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32,
    )  # fmt: skip


def lumina_params() -> Any:
    from library.lumina_models import LuminaParams

    return LuminaParams(
        in_channels=16, dim=96, n_layers=2, n_heads=4, n_kv_heads=2, axes_dims=[8, 8, 8], axes_lens=[300, 512, 512],
        qk_norm=True, cap_feat_dim=WIDTH,
    )  # fmt: skip


def sd3_params(depth: int = 2) -> Any:
    from library.sd3_models import SD3Params

    return SD3Params(
        patch_size=2, depth=depth, num_patches=64 * 64, pos_embed_max_size=64, adm_in_channels=2048, qk_norm="rms",
        x_block_self_attn_layers=[0], context_embedder_in_features=4096, context_embedder_out_features=64 * depth,
        model_type="5-medium",
    )  # fmt: skip


class TokenizerInPlace:
    @staticmethod
    def from_pretrained(name: str, cache_dir: str) -> Any:
        from transformers import AutoTokenizer

        assert name == "google/gemma-2-2b"
        return AutoTokenizer.from_pretrained(str(Path(cache_dir) / "google_t5-v1_1-xxl"))


def resize(module: Any, sizes: Mapping[str, str]) -> None:
    """Run a module of the checkout once more, with other numbers where they are written out in its code."""
    source = inspect.getsource(module)
    for written, tiny in sizes.items():
        assert written in source, f"{module.__name__} no longer has {written!r}"
        source = source.replace(written, tiny)
    exec(compile(source, module.__file__, "exec"), vars(module))  # noqa: S102 - the checkout's own code


def put_hunyuan_image_sizes() -> None:
    from library import hunyuan_image_models, hunyuan_image_text_encoder, hunyuan_image_vae

    sizes = {
        "hidden_size = 3584": f"hidden_size = {WIDTH}", "text_states_dim = 3584": f"text_states_dim = {WIDTH}",
        "heads_num = 28": "heads_num = 2", "rope_dim_list = [64, 64]": "rope_dim_list = [16, 16]",
        "double_blocks_depth = 20": "double_blocks_depth = 2", "single_blocks_depth = 40": "single_blocks_depth = 2",
    }  # fmt: skip
    resize(hunyuan_image_models, sizes)
    sizes = {
        "(128, 256, 512, 512, 1024, 1024)": "(4, 4, 8, 16, 32, 128)", "layers_per_block = 2": "layers_per_block = 1",
        "num_groups=32": "num_groups=4",
    }  # fmt: skip
    resize(hunyuan_image_vae, sizes)
    hunyuan_image_text_encoder.Qwen2_5_VLConfig = lambda **_: qwen_vl_config()
    hunyuan_image_text_encoder.T5Config = lambda **_: t5_config(BYT5_WIDTH, words=384)


def put_anima_sizes() -> None:
    import transformers
    from library import anima_models, anima_utils, qwen_image_autoencoder_kl

    sizes = {
        '"model_channels": 2048': f'"model_channels": {WIDTH}', '"num_blocks": 28': '"num_blocks": 2',
        '"crossattn_emb_channels": 1024': f'"crossattn_emb_channels": {WIDTH}', '"num_heads": 16': '"num_heads": 2',
        '"adaln_lora_dim": 256': '"adaln_lora_dim": 8',
    }  # fmt: skip
    resize(anima_utils, sizes)
    transformers.Qwen3Config = type("Tiny", (), {"from_pretrained": lambda *_, **__: qwen3_config()})
    adapter = {
        "source_dim=1024,": f"source_dim={WIDTH},", "target_dim=1024,": f"target_dim={WIDTH},",
        "model_dim=1024,": f"model_dim={WIDTH},", "num_layers=6,\n": "num_layers=1,\n",
    }  # fmt: skip
    resize(anima_models, adapter)
    resize(qwen_image_autoencoder_kl, {'"base_dim": 96': '"base_dim": 8'})


def put_sizes() -> None:
    """Put tiny sizes where the checkout has its fixed ones."""
    import torch
    from accelerate import init_empty_weights
    from library import (
        chroma_models,
        flux_models,
        flux_utils,
        lumina_models,
        lumina_util,
        sd3_models,
        sd3_utils,
        strategy_lumina,
    )
    from transformers import CLIPTextModelWithProjection, T5EncoderModel

    tiny = {
        "hidden_size": WIDTH, "num_heads": 2, "axes_dim": [8, 12, 12], "depth": 2, "depth_single_blocks": 2,
        "context_in_dim": WIDTH,
    }  # fmt: skip
    for name, spec in list(flux_models.configs.items()):
        flux_models.configs[name] = replace(
            spec, params=replace(spec.params, vec_in_dim=WIDTH, **tiny), ae_params=replace(spec.ae_params, ch=32)
        )
    chroma_models.chroma_params = replace(chroma_models.chroma_params, approximator_hidden_size=32, **tiny)

    flux_utils.CLIPConfig = lambda **_: clip_config(WIDTH)
    flux_utils.T5Config = lambda **_: t5_config(WIDTH)

    # SD3 joins the encoders' outputs at their full widths, so these have them; only their depth is small, and their files
    # hold no weights, since those of the words alone are a gigabyte
    def seeded(kind: Any, config: Any) -> Any:
        def load(path: Any, *_: Any, **__: Any) -> Any:
            if not sd3_utils.load_safetensors(path, "cpu"):
                with init_empty_weights():
                    return kind(config)
            with torch.random.fork_rng():
                torch.manual_seed(1)
                return kind(config)

        return load

    sd3_utils.load_clip_l = seeded(CLIPTextModelWithProjection, clip_config(768))
    sd3_utils.load_clip_g = seeded(CLIPTextModelWithProjection, clip_config(1280))
    sd3_utils.load_t5xxl = seeded(T5EncoderModel, t5_config(4096))

    lumina_models.LuminaParams.get_2b_config = classmethod(lambda cls: lumina_params())
    lumina_util.Gemma2Config = lambda **_: gemma_config()
    strategy_lumina.AutoTokenizer = TokenizerInPlace

    class TinyVae(sd3_models.SDVAE):
        def __init__(self, dtype: Any = None, device: Any = None) -> None:
            torch.nn.Module.__init__(self)
            self.encoder = sd3_models.VAEEncoder(ch=32, dtype=dtype, device=device)
            self.decoder = sd3_models.VAEDecoder(ch=32, dtype=dtype, device=device)

    sd3_models.SDVAE = TinyVae
    put_hunyuan_image_sizes()
    put_anima_sizes()


def write(architecture: str, folder: Path) -> None:
    """The model files of an architecture, with random weights."""
    import torch
    from library import chroma_models, flux_models, lumina_models, sd3_models
    from safetensors.torch import save_file
    from transformers import CLIPTextModel, Gemma2Model, T5EncoderModel

    put_sizes()
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)

    def save(model: Any, name: str, named: Callable[[str], str] = str) -> None:
        for key, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.05)
            else:  # some are made without a value
                torch.nn.init.constant_(parameter, float(not key.endswith("bias")))
        tensors = {named(key): value.contiguous() for key, value in model.state_dict().items()}
        save_file(tensors, str(folder / name))

    if architecture == "sd3":
        model = sd3_models.create_sd3_mmdit(sd3_params())
        torch.nn.init.normal_(model.pos_embed, std=0.05)  # made without a value
        save(model, "model.safetensors")
        save(sd3_models.SDVAE(torch.float32, "cpu"), "vae.safetensors")
        stubs = {
            "clip_l": "text_model.encoder.layers.0.a", "clip_g": "text_model.encoder.layers.31.a",
            "t5xxl": "encoder.block.0.layer.0.SelfAttention.q.weight",
        }  # fmt: skip
        for name, key in stubs.items():
            save_file({key: torch.zeros(1), "shared.weight": torch.zeros(1)}, str(folder / f"{name}.safetensors"))
        return
    if architecture == "hunyuan-image":
        write_hunyuan_image(save, folder)
        return
    if architecture == "anima":
        write_anima(save, folder)
        return
    if architecture == "lumina2":
        save(lumina_models.NextDiT_2B_GQA_patch2_Adaln_Refiner(), "model.safetensors")
        gemma = {f"model.{key}": value for key, value in Gemma2Model(gemma_config()).state_dict().items()}
        save_file(gemma, str(folder / "gemma2.safetensors"))
        save(flux_models.AutoEncoder(flux_models.configs["dev"].ae_params), "ae.safetensors")
        return
    if architecture == "chroma":
        save(chroma_models.Chroma(chroma_models.chroma_params), "model.safetensors")
    else:
        save(flux_models.Flux(flux_models.configs["dev"].params), "model.safetensors")
        save(CLIPTextModel(clip_config(WIDTH)), "clip_l.safetensors")
    encoder = T5EncoderModel(t5_config(WIDTH))
    encoder.encoder.embed_tokens = torch.nn.Embedding(32128, WIDTH)
    encoder.shared = encoder.encoder.embed_tokens
    tensors = {key: value.clone() for key, value in encoder.state_dict().items()}
    save_file(tensors, str(folder / "t5xxl.safetensors"))
    save(flux_models.AutoEncoder(flux_models.configs["dev"].ae_params), "ae.safetensors")


def write_hunyuan_image(save: Callable[[Any, str], None], folder: Path) -> None:
    from library import hunyuan_image_models, hunyuan_image_vae
    from safetensors.torch import save_file
    from transformers import Qwen2_5_VLForConditionalGeneration, T5EncoderModel

    save(hunyuan_image_models.HYImageDiffusionTransformer(), "model.safetensors")
    save(hunyuan_image_vae.HunyuanVAE2D(), "vae.safetensors")
    encoder = Qwen2_5_VLForConditionalGeneration(qwen_vl_config()).bfloat16()
    names = {"model.language_model.": "model.", "model.visual.": "visual.", "lm_head.": "lm_head."}
    tensors = {
        bare + key.removeprefix(prefix): value
        for key, value in encoder.state_dict().items()
        for prefix, bare in names.items()
        if key.startswith(prefix)
    }
    save_file(tensors, str(folder / "qwen2_5_vl.safetensors"))
    glyphs = T5EncoderModel(t5_config(BYT5_WIDTH, words=1510)).half()  # with words for fonts and colours
    tensors = {key: value for key, value in glyphs.state_dict().items() if key != "encoder.embed_tokens.weight"}
    save_file(tensors, str(folder / "byt5.safetensors"))


def write_anima(save: Callable[..., None], folder: Path) -> None:
    from library import anima_models, qwen_image_autoencoder_kl
    from transformers import Qwen3Model

    model = anima_models.Anima(
        max_img_h=512, max_img_w=512, max_frames=128, in_channels=16, out_channels=16, patch_spatial=2, patch_temporal=1,
        model_channels=WIDTH, crossattn_emb_channels=WIDTH, num_blocks=2, num_heads=2, pos_emb_cls="rope3d",
        use_adaln_lora=True, adaln_lora_dim=8, use_llm_adapter=True,
    )  # fmt: skip
    save(model, "model.safetensors", lambda key: f"net.{key}")
    save(Qwen3Model(qwen3_config()).bfloat16(), "qwen3.safetensors", lambda key: f"model.{key}")
    names = comfyui_names_of_vae(qwen_image_autoencoder_kl.convert_comfyui_state_dict)
    vae = qwen_image_autoencoder_kl.AutoencoderKLQwenImage(base_dim=8)
    save(vae, "vae.safetensors", lambda key: ".".join([names[key.rpartition(".")[0]], key.rpartition(".")[2]]))


def comfyui_names_of_vae(convert: Callable[..., Any]) -> dict[str, str]:
    """The checkout's name of a layer of Qwen-Image's autoencoder → ComfyUI's, out of the table in its converter."""
    tables = (
        node for node in ast.walk(ast.parse(inspect.getsource(convert))) if isinstance(node, ast.Dict) and node.keys
    )
    return {theirs: comfyui for comfyui, theirs in ast.literal_eval(next(tables)).items()}


def bare(checkout: str, job: Path) -> None:
    """The checkout's trainer as it is, with a clock at the first and the last step."""
    sys.path.insert(0, checkout)
    sys.argv = [str(Path(checkout) / "train.py")]
    extra = json.loads((job / "job.json").read_text(encoding="utf-8"))
    module = importlib.import_module(extra["script"])
    import toml

    options = toml.loads((job / "job.toml").read_text(encoding="utf-8"))
    args = import_runner("options").parse(module.setup_parser(), options)
    put_sizes()
    times: list[float] = []

    class TimedTrainer(getattr(module, extra["trainer"])):
        def sample_images(self, accelerator: Any, args: Any, epoch: Any, *rest: Any) -> None:
            super().sample_images(accelerator, args, epoch, *rest)
            if epoch is None or not times:
                times.append(time.monotonic())

    TimedTrainer().train(args)
    print(f"\nseconds {times[-1] - times[0]}", flush=True)


def make_samples_too_large() -> None:
    """As on a card that is too small for them: in the middle of a sample, after the model was made ready for it."""
    import torch
    from library import flux_train_utils

    def denoise(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    setattr(flux_train_utils, "denoise", denoise)  # noqa: B010 - a module of the checkout
    with contextlib.suppress(ModuleNotFoundError):
        hunyuan = importlib.import_module("hunyuan_image_minimal_inference")
        setattr(hunyuan, "generate_body", denoise)  # noqa: B010 - a module of the checkout


def make_disk_full(file: Path) -> None:
    """While a file is there, states and LoRAs are refused as torch and safetensors do it."""
    import safetensors.torch
    import torch

    def refusing(save: Callable[..., Any], words: str) -> Callable[..., Any]:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            if file.exists():
                raise RuntimeError(words)
            return save(*args, **kwargs)

        return refuse

    torch.save = refusing(torch.save, "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
    words = "Error while serializing: I/O error: No space left on device (os error 28)"
    safetensors.torch.save_file = refusing(safetensors.torch.save_file, words)


def prepare() -> None:
    if os.environ.get(FULL_DISK):
        make_disk_full(Path(os.environ[FULL_DISK]))
    put_sizes()
    if os.environ.get(TOO_LARGE):
        make_samples_too_large()


def main(arguments: list[str]) -> int:
    if arguments[0] == "write":
        sys.path.insert(0, arguments[1])
        write(arguments[2], Path(arguments[3]))
        return 0
    if arguments[0] == "bare":
        bare(arguments[1], Path(arguments[2]))
        return 0
    return import_runner("main").main(arguments, prepare=prepare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
