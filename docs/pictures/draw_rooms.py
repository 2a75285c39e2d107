"""Draws the rooms of the repository, and the ways of a layout and of a training setting through them.

python docs/pictures/draw_rooms.py        writes rooms.svg
"""

from __future__ import annotations

from pathlib import Path

FONT = "'Segoe UI', 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', sans-serif"
PAPER, INK, MUTED, LINE = "#fbf8f2", "#22263a", "#6b7087", "#d9d3c5"
LAYOUT, SETTING = "#1f7a8c", "#d9512c"
BANDS = {"js": "#eaf3f6", "nodes": "#fdf0e3", "incontext": "#eef4e8", "training": "#f7e9ec", "disk": "#f0eef6"}


def text(
    x: float, y: float, words: str, size: float = 15, colour: str = INK, weight: int = 400, anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-family="{FONT}" font-size="{size:g}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


def band(y: float, height: float, colour: str, name: str, *about: str, x: float = 180, width: float = 1204) -> str:
    """A part of the house, a process or a layer, with its name in the margin on the left."""
    parts = [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="16" fill="{colour}" stroke="{LINE}"/>',
        text(28, y + 30, name, 18, weight=700, anchor="start"),
    ]
    parts += [text(28, y + 54 + 19 * number, line, 13.5, MUTED, anchor="start") for number, line in enumerate(about)]
    return "".join(parts)


def room(x: float, y: float, width: float, height: float, name: str, *lines: str) -> str:
    parts = [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10" fill="#fff" stroke="{LINE}"/>',
        text(x + width / 2, y + 25, name, 15, weight=600),
    ]
    parts += [text(x + width / 2, y + 47 + 18 * number, line, 12.5, MUTED) for number, line in enumerate(lines)]
    return "".join(parts)


def way(x: float, y: float, x2: float, y2: float, colour: str, *, is_dashed: bool = False) -> str:
    name = "setting" if colour == SETTING else "layout"
    dashes = ' stroke-dasharray="1 8"' if is_dashed else ""
    return (
        f'<line x1="{x:g}" y1="{y:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="4" stroke-linecap="round"{dashes} '
        f'marker-end="url(#{name})"/>'
    )


def stop(x: float, y: float, label: str, colour: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="14" fill="{colour}" stroke="#fff" stroke-width="2.5"/>' + text(
        x, y + 5, label, 14, "#fff", 700
    )


def arrow(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="7" refY="5" markerWidth="3.6" markerHeight="3.6" orient="auto">'
        f'<path d="M 0 0 L 10 5 L 0 10 z" fill="{colour}"/></marker>'
    )


def rooms() -> str:
    tops, height = (74, 240, 406, 596), 112
    js, nodes, library, disk = tops
    low = [top + height - 24 for top in tops]  # where the stops are
    parts = [
        f"<defs>{arrow('layout', LAYOUT)}{arrow('setting', SETTING)}</defs>",
        f'<rect width="1400" height="736" rx="22" fill="{PAPER}"/>',
        stop(200, 34, "1", LAYOUT) + text(224, 39, "the way of a layout", 15, LAYOUT, 700, "start"),
        stop(430, 34, "A", SETTING) + text(454, 39, "the way of a training setting", 15, SETTING, 700, "start"),
        band(js - 14, height + 28, BANDS["js"], "js/", "the interface,", "in the browser"),
        room(200, js, 250, height, "incontext_layout.js", "borders to drag; lib/layout.mjs"),
        room(460, js, 120, height, "…_caption.js", "a field per panel"),
        room(720, js, 240, height, "lib/gallery/", "the sets that were made"),
        room(996, js, 242, height, "widgets", "of the trainers’ nodes"),
        room(1248, js, 116, height, "lib/training/", "curve, samples"),
        band(
            nodes - 14,
            height + 28,
            BANDS["nodes"],
            "nodes/",
            "thin nodes, in",
            "ComfyUI’s process;",
            "host.py alone uses",
            "ComfyUI’s globals",
        ),
        room(200, nodes, 120, height, "panels/", "layout, stitch,", "split"),
        room(330, nodes, 120, height, "references/", "condition, crop,", "repaint"),
        room(460, nodes, 120, height, "captions/", "joint, describe"),
        room(590, nodes, 120, height, "dataset.py", "build"),
        room(720, nodes, 120, height, "lora.py", "load, save"),
        room(850, nodes, 110, height, "evaluate/", "score,", "compare"),
        room(996, nodes, 242, height, "training/", "in_host, sd_scripts"),
        room(1248, nodes, 116, height, "server/", "routes,", "answers"),
        band(
            library - 14,
            height + 52,
            BANDS["incontext"],
            "incontext/",
            "the library: values",
            "and functions,",
            "no ComfyUI",
            width=796,
        ),
        room(200, library, 250, height, "panels/", "layout, stitch, windows, paste,", "seams, colours"),
        room(460, library, 120, height, "captions/", "joint, phrases,", "describe"),
        room(590, library, 120, height, "dataset/", "scan, build,", "report"),
        room(720, library, 120, height, "lora/", "recipe, tasks,", "header, keys"),
        room(850, library, 110, height, "evaluate/", "scores,", "choose"),
        text(
            480,
            library + height + 25,
            "sets/ (of the gallery) · files/ · errors · permissions · plain_text · tensors",
            13,
            MUTED,
        ),
        f'<rect x="984" y="{library - 14}" width="400" height="{height + 52}" rx="16" fill="{BANDS["training"]}" '
        f'stroke="{LINE}"/>',
        room(996, library, 116, height, "sd_scripts/", "settings, job,", "supervise"),
        room(1122, library, 116, height, "in_host/", "settings,", "loop"),
        room(1248, library, 116, height, "runs/", "folder, claims,", "monitor"),
        text(1117, library + height + 26, "training/", 17, INK, 700),
        text(1243, library + height + 25, "sweep/", 13, MUTED),
        band(disk - 14, height + 28, BANDS["disk"], "on disk", "and beside", "ComfyUI"),
        room(200, disk, 380, height, "output/incontext_datasets", "composites, captions, manifest.json"),
        room(590, disk, 370, height, "output/loras", "LoRAs, each with its recipe in the header"),
        room(996, disk, 116, height, "runner/", "of sd_scripts, in", "its own Python"),
        room(1122, disk, 242, height, "output/incontext_runs", "run.json, events.jsonl,", "samples, checkpoints"),
    ]
    # between rooms, so that no line crosses a word
    for top, below in ((js, nodes), (nodes, library)):
        parts.append(way(260, top + height, 260, below - 6, LAYOUT))
        parts.append(way(1054, top + height, 1054, below - 6, SETTING))
        parts.append(way(1306, below, 1306, top + height + 6, SETTING))
    parts += [
        way(274, low[2], 500, low[2], LAYOUT),
        way(534, low[2], 630, low[2], LAYOUT),
        way(664, low[2], 760, low[2], LAYOUT),
        way(780, library + height, 780, disk - 6, LAYOUT),
        way(1180, nodes + height, 1180, library - 6, SETTING, is_dashed=True),
        way(1180, library + height, 1180, disk - 6, SETTING, is_dashed=True),
        way(1054, library + height, 1054, disk - 6, SETTING),
        way(1068, low[3], 1222, low[3], SETTING),
        way(1306, disk, 1306, library + height + 6, SETTING),
    ]
    layout = ((260, 0), (260, 1), (260, 2), (520, 2), (650, 2), (780, 2), (780, 3))
    setting = ((1054, 0), (1054, 1), (1054, 2), (1054, 3), (1243, 3), (1306, 2), (1306, 1), (1306, 0))
    parts += [stop(x, low[row], label, LAYOUT) for label, (x, row) in zip("1234567", layout, strict=True)]
    parts += [stop(x, low[row], label, SETTING) for label, (x, row) in zip("ABCDEFGH", setting, strict=True)]
    content = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1400 736" width="1400" height="736">\n{content}\n</svg>\n'


if __name__ == "__main__":
    (Path(__file__).parent / "rooms.svg").write_text(rooms(), encoding="utf-8")
