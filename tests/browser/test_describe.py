"""Caption Panels in the interface: the bundled workflow, a person's address, and what is seen then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from incontext_lora.tests.vision_server import VisionServer, says

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

ANSWER = "SUMMARY: One star in three places.\n[SCENE-1] it rises\n[SCENE-2] it shines\n[SCENE-3] it sets"
CAPTION = "[MOVIE-SHOTS] One star in three places. [SCENE-1] it rises [SCENE-2] it shines [SCENE-3] it sets"


def test_a_set_is_described_and_a_silent_server_is_named(either: Interface) -> None:
    with VisionServer(says(ANSWER)) as vision:
        either.load_template("caption-panels")
        node = either.node_id("InContextCaptionPanels")
        either.set_value(node, "base_url", vision.url)
        either.set_value(node, "model", "seeing-model")
        either.set_value(node, "seed", 1 if either.renderer == "classic" else 2)
        either.show(node)
        either.run()
        either.page.wait_for_function(
            """([node, caption]) => {
                const text = ({ element, value }) => String(element?.innerText ?? value);
                return app.graph.getNodeById(node).widgets.some(widget => text(widget).includes(caption)) }""",
            arg=[node, CAPTION],
        )
        assert len(vision.questions[-1].pictures) == 3
        either.screenshot(f"caption-panels-{either.renderer}")
    # the server is gone now: the person is told which address does not answer
    either.set_value(node, "seed", 3)
    either.page.evaluate("() => app.queuePrompt(0, 1)")
    # a dialog, or in newer ComfyUI a line that leads to the words
    dialog = either.page.get_by_role("dialog").get_by_text(f"No server is running at {vision.url}")
    details = either.page.get_by_role("button", name="View details")
    dialog.or_(details).first.wait_for()
    if details.is_visible():
        details.click()
    told = either.page.get_by_text(f"No server is running at {vision.url}").first
    told.wait_for()
    either.screenshot(f"caption-panels-no-server-{either.renderer}")
    if dialog.is_visible():
        either.page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
