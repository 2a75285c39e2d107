"""The stylesheets of the interface: a page loads each of them, and names no other."""

from __future__ import annotations

import re

from incontext_lora.tests.repository_files import files, read


def test_every_stylesheet_is_loaded_and_exists() -> None:
    calls = [call for name in files(".js", ".mjs") for call in re.findall(r"\bloadStyles\(([^).]*)\)", read(name))]
    loaded = {"base"} | {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    assert {f"js/styles/{name}.css" for name in loaded} == set(files(".css"))


def test_no_rule_reaches_what_is_not_ours() -> None:
    """Every rule stands in a block of `.incontext-lora`: the page has other packs and ComfyUI itself."""
    for name in files(".css"):
        text = re.sub(r"/\*.*?\*/", "", read(name), flags=re.DOTALL)
        selectors = re.findall(r"(?m)^([^\s}][^{]*)\{", text)
        assert selectors, name
        for selector in ",".join(selectors).split(","):
            assert selector.strip().startswith(".incontext-lora"), f"{name}: {selector.strip()}"
