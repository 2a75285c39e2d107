"""Run by the trainer's interpreter: the checkout's own SD3 trainer on the demo's model.

    python demo_size.py CHECKOUT JOB_FOLDER

The demo's transformer and CLIP-L go through the checkout's own loaders. Put in place is what these cannot take: the demo's
small autoencoder (of the TAESD kind), and the two text encoders that the demo does not have. These say what ComfyUI's sd3
text encoder says without them: zeros beside CLIP-L's words, and no words of T5 at all.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).resolve().parents[2] / "training" / "sd_scripts" / "runner" / "__main__.py"
TOKENS, CLIP_G_WIDTH, T5_WIDTH = 77, 1280, 4096


def convolution(inputs: int, outputs: int, **options: Any) -> Any:
    from torch import nn

    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def block(width: int) -> Any:
    """TAESD's residual block."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [convolution(width, width) for _ in range(3)]
            self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
            self.fuse = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.fuse(self.conv(x) + x)

    return Block()


def encoder(channels: int, width: int = 64) -> Any:
    from torch import nn

    def halved() -> list[Any]:
        return [convolution(width, width, stride=2, bias=False), *(block(width) for _ in range(3))]

    first = [convolution(3, width), block(width)]
    return nn.Sequential(*first, *halved(), *halved(), *halved(), convolution(width, channels))


def decoder(channels: int, width: int = 64) -> Any:
    from torch import nn

    class Clamp(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x / 3).tanh() * 3

    def doubled() -> list[Any]:
        return [*(block(width) for _ in range(3)), nn.Upsample(scale_factor=2), convolution(width, width, bias=False)]

    first = [Clamp(), convolution(channels, width), nn.ReLU()]
    return nn.Sequential(*first, *doubled(), *doubled(), *doubled(), block(width), convolution(width, 3))


def put_in_place() -> None:
    import torch
    from library import sd3_models, sd3_utils

    class Tiny(sd3_models.SDVAE):
        """[batch, 3, height, width] from -1 to 1 ↔ SD3's raw latents [batch, 16, height / 8, width / 8]."""

        def __init__(self, dtype: Any = None, device: Any = None) -> None:
            torch.nn.Module.__init__(self)
            self.taesd_encoder, self.taesd_decoder = encoder(16), decoder(16)
            self.vae_scale = torch.nn.Parameter(torch.tensor(1.0))
            self.vae_shift = torch.nn.Parameter(torch.tensor(0.0))
            self.to(dtype=dtype, device=device)

        def encode(self, image: Any) -> Any:
            return self.taesd_encoder(image * 0.5 + 0.5) / self.vae_scale + self.vae_shift

        def decode(self, latent: Any) -> Any:
            return self.taesd_decoder((latent - self.vae_shift) * self.vae_scale) * 2 - 1

    class Absent(torch.nn.Module):
        dtype = torch.float32

        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        @property
        def device(self) -> Any:
            return self.nothing.device

    class AbsentClip(Absent):
        def forward(self, tokens: Any, mask: Any, output_hidden_states: bool = True) -> Any:
            batch = len(tokens)
            words = torch.zeros(batch, TOKENS, CLIP_G_WIDTH, device=self.device)
            return AbsentOutput([words, words], torch.zeros(batch, CLIP_G_WIDTH, device=self.device))

    class AbsentOutput:
        def __init__(self, hidden_states: list[Any], pooled: Any) -> None:
            self.hidden_states, self.pooled = hidden_states, pooled

        def __getitem__(self, index: int) -> Any:
            return self.pooled

    class AbsentT5(Absent):
        def forward(self, tokens: Any, *_: Any, **__: Any) -> Any:
            return torch.zeros(len(tokens), 0, T5_WIDTH, device=self.device), None

    sd3_models.SDVAE = Tiny
    sd3_utils.load_clip_g = lambda *_, **__: AbsentClip()
    sd3_utils.load_t5xxl = lambda *_, **__: AbsentT5()


def main(arguments: list[str]) -> int:
    return runpy.run_path(str(RUNNER))["import_runner"]().main(arguments, prepare=put_in_place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
