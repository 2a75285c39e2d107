"""Draws the pack's icon and banner: one balloon through several panels on one canvas.

python docs/pictures/draw.py        writes icon.svg and banner.svg, and their PNGs where Chromium is installed
"""

from __future__ import annotations

import math
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
INK, PAPER, MUTED = "#171a26", "#f6f1e7", "#a9adbf"
FONT = "'Noto Sans CJK SC', 'Source Sans 3', 'Segoe UI', 'Helvetica Neue', sans-serif"


@dataclass(frozen=True)
class Scene:
    """A time of day; the colours go from far to near."""

    name: str
    sky: tuple[str, ...]
    light: str
    light_at: tuple[float, float]
    """Where sun or moon stands, in parts of the panel."""
    hills: tuple[str, ...]
    balloon_at: tuple[float, float]
    balloon_size: float
    """Its diameter, in parts of the panel's shorter side."""
    is_night: bool = False


DAWN = Scene(
    "SCENE-1",
    ("#3d4a83", "#c77f96", "#f8c49a"),
    "#fff0d2",
    (0.72, 0.60),
    ("#a06a8d", "#6d4f80", "#41365f"),
    (0.34, 0.50),
    0.38,
)
NOON = Scene(
    "SCENE-2",
    ("#3f8fc9", "#8cc7e0", "#dff1ea"),
    "#fffbe6",
    (0.22, 0.20),
    ("#8fbfa8", "#549a86", "#2a6f68"),
    (0.62, 0.34),
    0.46,
)
DUSK = Scene(
    "SCENE-3",
    ("#5b3b7c", "#d5627a", "#fbb26d"),
    "#ffe0a0",
    (0.30, 0.66),
    ("#a4527c", "#6c3a6b", "#3b2550"),
    (0.64, 0.38),
    0.34,
)
NIGHT = Scene(
    "SCENE-4", ("#0f1738", "#2a3a70", "#6f7fb8"), "#f3efdc", (0.78, 0.20), ("#2b3c72", "#1d2a55", "#111936"), (0.40, 0.42), 0.40,
    is_night=True,
)  # fmt: skip


def panel(scene: Scene, x: float, y: float, width: float, height: float, radius: float) -> str:
    """One scene as a rounded panel; its identifiers hold its place, so that one drawing may hold a scene twice."""
    key = f"{scene.name}-{x:g}-{y:g}".lower()
    side = min(width, height)
    stops = "".join(
        f'<stop offset="{number / (len(scene.sky) - 1):.2f}" stop-color="{colour}"/>'
        for number, colour in enumerate(scene.sky)
    )
    light_x, light_y = x + scene.light_at[0] * width, y + scene.light_at[1] * height
    parts = [
        f'<linearGradient id="sky-{key}" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient>',
        f'<radialGradient id="glow-{key}"><stop offset="0" stop-color="{scene.light}" '
        f'stop-opacity="{0.35 if scene.is_night else 0.75}"/>'
        f'<stop offset="1" stop-color="{scene.light}" stop-opacity="0"/></radialGradient>',
        f'<clipPath id="cut-{key}"><rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/></clipPath>',
        f'<g clip-path="url(#cut-{key})">',
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="url(#sky-{key})"/>',
    ]
    if scene.is_night:
        parts += stars(x, y, width, height * 0.62, side)
    parts.append(
        f'<circle cx="{light_x:.1f}" cy="{light_y:.1f}" r="{side * (0.3 if scene.is_night else 0.42):.1f}" '
        f'fill="url(#glow-{key})"/>'
    )
    if scene.is_night:
        parts.append(moon(light_x, light_y, side * 0.1, scene.light))
    else:
        parts.append(f'<circle cx="{light_x:.1f}" cy="{light_y:.1f}" r="{side * 0.095:.1f}" fill="{scene.light}"/>')
    for number, colour in enumerate(scene.hills):
        parts.append(hill(x, y, width, height, number, len(scene.name) * 7 + number * 2 + ord(scene.name[-1]), colour))
    parts.append(
        balloon(
            x + scene.balloon_at[0] * width, y + scene.balloon_at[1] * height, side * scene.balloon_size, scene.is_night
        )
    )
    parts.append("</g>")
    return "\n".join(parts)


def stars(x: float, y: float, width: float, height: float, side: float) -> list[str]:
    """Scattered, none too near another: of several places drawn, each star takes the one farthest from the others."""
    draw = random.Random(11)
    placed: list[tuple[float, float]] = []
    for _ in range(26):
        places = [(draw.random() * width, draw.random() * height) for _ in range(8)]
        placed.append(max(places, key=lambda place: min((math.dist(place, other) for other in placed), default=0.0)))
    return [
        f'<circle cx="{x + across:.1f}" cy="{y + down:.1f}" r="{side * draw.uniform(0.003, 0.008):.2f}" fill="#fff" '
        f'fill-opacity="{draw.uniform(0.4, 0.95):.2f}"/>'
        for across, down in placed
    ]


def moon(x: float, y: float, radius: float, colour: str) -> str:
    """A crescent: an outer and an inner arc between the same two points."""
    return (
        f'<path d="M {x - 0.35 * radius:.1f} {y - 0.94 * radius:.1f} A {radius:.1f} {radius:.1f} 0 1 1 '
        f"{x - 0.94 * radius:.1f} {y + 0.35 * radius:.1f} A {0.8 * radius:.1f} {0.8 * radius:.1f} 0 1 0 "
        f'{x - 0.35 * radius:.1f} {y - 0.94 * radius:.1f} Z" fill="{colour}"/>'
    )


def hill(x: float, y: float, width: float, height: float, layer: int, seed: float, colour: str) -> str:
    """A smooth ridge across the panel; the nearer one lies lower."""
    base, lift = 0.70 + 0.105 * layer, 0.075 - 0.012 * layer
    points = []
    for step in range(49):
        across = step / 48
        wave = math.sin(across * 5.1 + seed * 1.7) + 0.55 * math.sin(across * 9.7 + seed * 0.9 + layer)
        points.append(f"{x + across * width:.1f},{y + (base - lift * wave) * height:.1f}")
    corners = f"{x + width:g},{y + height:g} {x:g},{y + height:g}"
    return f'<polygon points="{" ".join(points)} {corners}" fill="{colour}"/>'


def balloon(x: float, y: float, size: float, is_lit: bool) -> str:
    """The hero of the set, the same in every panel: ``size`` is the envelope's diameter, (x, y) its centre."""
    r = size / 2
    mouth = y + 1.28 * r
    envelope = (
        f"M {x - 0.2 * r:.1f} {mouth:.1f} C {x - 0.42 * r:.1f} {y + 0.98 * r:.1f} {x - r:.1f} {y + 0.62 * r:.1f} "
        f"{x - r:.1f} {y:.1f} A {r:.1f} {r:.1f} 0 0 1 {x + r:.1f} {y:.1f} "
        f"C {x + r:.1f} {y + 0.62 * r:.1f} {x + 0.42 * r:.1f} {y + 0.98 * r:.1f} {x + 0.2 * r:.1f} {mouth:.1f} Z"
    )
    key = f"balloon-{x:.0f}-{y:.0f}"

    def gore(half: float) -> str:
        top, low = y - r, mouth
        return (
            f"M {x:.1f} {top:.1f} C {x - half * 1.28:.1f} {y - 0.72 * r:.1f} {x - half * 1.28:.1f} {y + 0.62 * r:.1f} "
            f"{x - half * 0.22:.1f} {low:.1f} L {x + half * 0.22:.1f} {low:.1f} "
            f"C {x + half * 1.28:.1f} {y + 0.62 * r:.1f} {x + half * 1.28:.1f} {y - 0.72 * r:.1f} {x:.1f} {top:.1f} Z"
        )

    ropes = "".join(
        f'<line x1="{x + side * 0.18 * r:.1f}" y1="{mouth:.1f}" x2="{x + side * 0.13 * r:.1f}" y2="{y + 1.56 * r:.1f}" '
        f'stroke="#4a2f2a" stroke-width="{0.03 * r:.2f}"/>'
        for side in (-1, 1)
    )
    basket = (
        f'<rect x="{x - 0.17 * r:.1f}" y="{y + 1.54 * r:.1f}" width="{0.34 * r:.1f}" height="{0.27 * r:.1f}" '
        f'rx="{0.06 * r:.1f}" fill="#7a4a33"/>'
    )
    warm = (
        f'<radialGradient id="{key}-fire" cx="{x:.1f}" cy="{y + 1.1 * r:.1f}" r="{1.5 * r:.1f}" gradientUnits="userSpaceOnUse">'
        '<stop offset="0" stop-color="#fff2a8" stop-opacity="0.85"/><stop offset="1" stop-color="#ffd36e" stop-opacity="0"/>'
        f'</radialGradient><path d="{envelope}" fill="url(#{key}-fire)"/>'
        if is_lit
        else ""
    )
    return (
        f'<radialGradient id="{key}-shade" cx="0.34" cy="0.28" r="0.85"><stop offset="0" stop-color="#fff" stop-opacity="0.30"/>'
        f'<stop offset="0.45" stop-color="#fff" stop-opacity="0"/><stop offset="1" stop-color="#2a0a1c" stop-opacity="0.38"/>'
        f'</radialGradient><clipPath id="{key}-cut"><path d="{envelope}"/></clipPath>{ropes}{basket}'
        f'<g clip-path="url(#{key}-cut)"><path d="{envelope}" fill="#e4573d"/>'
        f'<path d="{gore(0.78 * r)}" fill="#fbe3b5"/><path d="{gore(0.46 * r)}" fill="#e4573d"/>'
        f'<path d="{gore(0.17 * r)}" fill="#fbe3b5"/>{warm}<path d="{envelope}" fill="url(#{key}-shade)"/></g>'
    )


def icon() -> str:
    """400 × 400: a canvas of two by two panels."""
    gap, edge, radius = 14, 26, 20
    side = (400 - 2 * edge - gap) / 2
    places = [(edge + column * (side + gap), edge + row * (side + gap)) for row in (0, 1) for column in (0, 1)]
    panels = "\n".join(
        panel(scene, x, y, side, side, radius) for scene, (x, y) in zip((DAWN, NOON, DUSK, NIGHT), places, strict=True)
    )
    return document(400, 400, f'<rect width="400" height="400" rx="72" fill="{PAPER}"/>\n{panels}')


def banner() -> str:
    """1680 × 720 (21:9): the name, and a canvas of three panels with the markers of their joint caption."""
    width, height, left, top = 940, 480, 660, 120
    gap, edge = 14, 18
    each = (width - 2 * edge - 2 * gap) / 3
    parts = [
        '<linearGradient id="wall" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="#20243a"/>'
        f'<stop offset="1" stop-color="{INK}"/></linearGradient>',
        '<filter id="shadow" x="-10%" y="-10%" width="120%" height="130%"><feDropShadow dx="0" dy="18" stdDeviation="22" '
        'flood-color="#000" flood-opacity="0.45"/></filter>',
        '<rect width="1680" height="720" fill="url(#wall)"/>',
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="26" fill="{PAPER}" filter="url(#shadow)"/>',
    ]
    for number, scene in enumerate((DAWN, NOON, NIGHT)):
        x = left + edge + number * (each + gap)
        parts.append(panel(scene, x, top + edge, each, height - 2 * edge - 48, 14))
        parts.append(
            f'<text x="{x + each / 2:.1f}" y="{top + height - 24}" text-anchor="middle" font-family="{FONT}" font-size="21" '
            f'font-weight="700" letter-spacing="1.5" fill="#8a8172">[SCENE-{number + 1}]</text>'
        )
    parts += [
        words(88, 300, 80, 700, "#fff", "In-Context"),
        words(88, 386, 80, 700, "#fff", "LoRA"),
        '<rect x="92" y="420" width="72" height="7" rx="3.5" fill="#e4573d"/>',
        words(88, 480, 31, 400, MUTED, "Image sets whose panels"),
        words(88, 522, 31, 400, MUTED, "belong together"),
        words(88, 600, 24, 700, "#6f7590", "for ComfyUI"),
    ]
    return document(1680, 720, "\n".join(parts))


def words(x: float, y: float, size: float, weight: int, colour: str, text: str) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-family="{FONT}" font-size="{size:g}" font-weight="{weight}" fill="{colour}">'
        f"{text}</text>"
    )


def document(width: int, height: int, content: str) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{content}\n</svg>\n'


def write(name: str, svg: str, width: int, height: int) -> None:
    """The SVG, and its PNG where a browser is there to paint it."""
    source = HERE / f"{name}.svg"
    source.write_text(svg, encoding="utf-8")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium:
        page = HERE / f".{name}.html"
        page.write_text(
            f"<style>*{{margin:0}}html{{background:transparent}}svg{{display:block}}</style>{svg}", encoding="utf-8"
        )
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--default-background-color=00000000"]
        options += [f"--window-size={width},{height}", f"--screenshot={HERE / f'{name}.png'}"]
        subprocess.run([chromium, *options, page.as_uri()], check=True, capture_output=True)
        page.unlink()


if __name__ == "__main__":
    write("icon", icon(), 400, 400)
    write("banner", banner(), 1680, 720)
