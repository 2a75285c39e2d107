"""What tests of the editors share: finding them on the page, and using them as a person does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator

STORY = (
    "[MOVIE-SHOTS] A day at the sea. [SCENE-1] <Leo> wakes up in a tent. [SCENE-2] <Leo> dives \\(deep\\). "
    "[SCENE-3] <Leo> sleeps."
)
PASTE = """(area, text) => { const data = new DataTransfer(); data.setData("text/plain", text);
    area.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })) }"""


def wait(interface: Interface, condition: str, argument: Any = None) -> None:
    """Until a JavaScript condition holds; the page's own clock decides when it has been too long."""
    interface.page.wait_for_function(condition, arg=argument)


def picture(interface: Interface) -> Locator:
    found = interface.page.locator(".incontext-picture")
    found.locator(".incontext-cell").first.wait_for()
    return found


def drag(interface: Interface, start: Locator, dx: float, dy: float, key: str = "") -> None:
    """Press on the middle of something, move, release."""
    x, y = middle(interface, start)
    mouse, keyboard = interface.page.mouse, interface.page.keyboard
    mouse.move(x, y)
    mouse.down()
    if key:
        keyboard.down(key)
    mouse.move(x + dx / 2, y + dy / 2)
    mouse.move(x + dx, y + dy)
    mouse.up()
    if key:
        keyboard.up(key)
    interface.settle()


def middle(interface: Interface, part: Locator) -> tuple[float, float]:
    """The middle of something, once two looks agree: a node that was just changed still takes its size."""
    for _ in range(40):
        before = part.bounding_box()
        interface.settle()
        box = part.bounding_box()
        if box and box == before:
            return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    raise AssertionError("it does not come to rest")


def shown_widgets(interface: Interface, node: int) -> list[str]:
    return interface.node(
        node,
        "node.widgets.filter(widget => !widget.hidden && !widget.element?.matches('.incontext-lora')).map(widget => widget.name)",
    )


def input_names(interface: Interface, node: int) -> list[str]:
    return interface.node(node, "node.inputs.map(input => input.name)")


def field(interface: Interface, title: str) -> Locator:
    return interface.page.locator(".incontext-caption").get_by_label(title, exact=True)
