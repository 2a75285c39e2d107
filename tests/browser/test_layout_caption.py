"""Layout and caption on their nodes, clicked and typed in as a person does, with both renderers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface


def test_quickstart_opens(either: Interface) -> None:
    either.load_template("quickstart")
    either.screenshot("smoke")
    print(either.node(either.node_id("InContextJointCaption"), "node.widgets.map(w => w.name)"))
