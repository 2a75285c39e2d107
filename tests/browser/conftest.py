"""The real interface in headless Chromium, before the real ComfyUI server with the pack and the demo models.

`interface` is a page with a new workflow; its methods do what a person does, or read what the page would send. Playwright's
event loop runs in the main thread, so `ComfyServer.run` (which needs a loop of its own) cannot be called here: queue with
`Interface.run`, as a person does.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.demo import sets

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer
    from playwright.sync_api import Browser, Locator, Page, Playwright

ROOT = Path(__file__).resolve().parents[2]
PACK = "incontext-lora"
# A workflow says which renderer its sizes are for. Frontend 1.32 does not write that into an empty one: after the first undo it
# takes what was made in Nodes 2.0 for the classic canvas's, enlarges it, and sooner or later notes that as the user's change.
DRAWN_BY = """() => {
    if (app.graph.nodes.length) return; // the frontend has written it
    app.graph.extra.workflowRendererVersion = LiteGraph.vueNodesMode ? "Vue" : "LG";
    app.extensionManager.workflow.activeWorkflow.changeTracker.reset(app.graph.serialize());
}"""
SCREENSHOTS = Path(os.environ.get("INCONTEXT_LORA_SCREENSHOTS") or ROOT / "build" / "screenshots")
WINDOW = {"width": 1600, "height": 1000}
PATIENCE = 45_000  # milliseconds; a page that is loaded while tests share two cores
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "There is no Chromium: install one (`apt-get install chromium`, Chrome or Edge, or `playwright install chromium`)."
)
# asked of a first-time user, or in the way of a test
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Minimap.Visible": False,
}
NO_BANNERS = """() => { for (const name of ["vueNodesBannerDismissed", "comfy.vueNodesMigration.dismissed"])
    localStorage.setItem(name, "true") }"""


@dataclass
class Interface:
    """A page with ComfyUI's interface."""

    page: Page
    server: ComfyServer
    errors: list[str]
    """What the page's scripts threw, and what was logged as an error."""

    def open(self) -> None:
        """Load (or reload) the page and wait until a workflow can be opened."""
        self.page.goto(self.server.url)
        self.page.wait_for_function(
            "Boolean(window.app?.graph && window.app.extensionManager && LiteGraph.registered_node_types.InContextTask)"
        )
        self.page.wait_for_function("!document.querySelector('#splash-loader, .p-progressspinner')")

    def load_template(self, name: str) -> None:
        """Open one of the pack's workflows, as a click on its card does."""
        workflow = self.server.get_json(f"/api/workflow_templates/{PACK}/{name}.json")
        self.load(workflow, name)

    def load(self, workflow: dict[str, Any], name: str = "test") -> None:
        """Open a workflow (in the interface's form) and wait until all of its nodes are there."""
        self.page.evaluate("([workflow, name]) => app.loadGraphData(workflow, true, true, name)", [workflow, name])
        self.page.wait_for_function("count => app.graph.nodes.length === count", arg=len(workflow["nodes"]))
        self.settle()

    def set_vue_nodes(self, on: bool) -> None:
        """Choose the renderer: Nodes 2.0, or the classic canvas."""
        self.setting("Comfy.VueNodes.Enabled", on)
        self.page.wait_for_function("on => Boolean(LiteGraph.vueNodesMode) === on", arg=on)
        self.page.evaluate(DRAWN_BY)
        self.settle()

    @property
    def renderer(self) -> str:
        """``classic`` or ``nodes-2.0``."""
        return "nodes-2.0" if self.page.evaluate("() => Boolean(LiteGraph.vueNodesMode)") else "classic"

    def setting(self, name: str, value: Any) -> None:
        self.page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def settle(self) -> None:
        """Wait for two frames: what a change draws is drawn then."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def add(self, node: str, x: float = 0, y: float = 0) -> int:
        """Put a node of this type on the canvas; returns its id."""
        script = """([type, pos]) => {
            const node = LiteGraph.createNode(type);
            node.pos = pos;
            app.canvas.emitBeforeChange();
            app.graph.add(node);
            app.canvas.emitAfterChange();
            return node.id }"""
        added = self.page.evaluate(script, [node, [x, y]])
        self.settle()
        return added

    def clear(self) -> None:
        """Begin a new workflow."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        self.page.wait_for_function("() => app.graph.nodes.length === 0")
        self.page.evaluate(DRAWN_BY)
        self.settle()

    def connect(self, origin: int, output: str, target: int, name: str) -> None:
        """Connect an output, by its name, to an input."""
        script = """([origin, output, target, name]) => {
            const [from, to] = [origin, target].map(id => app.graph.getNodeById(id));
            app.canvas.emitBeforeChange();
            const link = from.connect(from.findOutputSlot(output), to, to.findInputSlot(name));
            app.canvas.emitAfterChange();
            return link !== null }"""
        assert self.page.evaluate(script, [origin, output, target, name]), f"{output} does not connect to {name}"
        self.settle()

    def node_id(self, node: str) -> int:
        """Id of the only node of this type."""
        ids = self.page.evaluate(
            "type => app.graph.nodes.filter(node => node.type === type).map(node => node.id)", node
        )
        assert len(ids) == 1, f"there are {len(ids)} nodes of type {node}"
        return ids[0]

    def node(self, node_id: int, expression: str) -> Any:
        """The value of a JavaScript expression about ``node``."""
        return self.page.evaluate(f"id => {{ const node = app.graph.getNodeById(id); return {expression} }}", node_id)

    def value(self, node_id: int, widget: str) -> Any:
        """What a widget holds."""
        return self.node(node_id, f"node.widgets.find(widget => widget.name === {json.dumps(widget)}).value")

    def set_value(self, node_id: int, widget: str, value: Any) -> None:
        """Give a widget a value, as its editor does: with its callback."""
        script = """([id, name, value]) => {
            const node = app.graph.getNodeById(id);
            const widget = node.widgets.find(widget => widget.name === name);
            app.canvas.emitBeforeChange();
            widget.value = value;
            widget.callback?.(value, app.canvas, node);
            app.canvas.emitAfterChange();
            app.graph.setDirtyCanvas(true, true) }"""
        self.page.evaluate(script, [node_id, widget, value])
        self.settle()

    def inputs(self, node_id: int) -> dict[str, Any]:
        """What a node's inputs are in the prompt that the page would send now."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return prompt[str(node_id)]["inputs"]

    def show(self, *node_ids: int) -> None:
        """Bring nodes into view at 100 %, the first at the upper left."""
        script = """ids => {
            const [node] = ids.map(id => app.graph.getNodeById(id));
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset[0] = 120 - node.pos[0];
            app.canvas.ds.offset[1] = 140 - node.pos[1];
            app.canvas.setDirty(true, true) }"""
        self.page.evaluate(script, list(node_ids))
        self.settle()

    def run(self, patience: float = 120) -> dict[str, Any]:
        """Queue the workflow as the Run button does; returns the outputs once it is done."""
        entry = self.entry_after(lambda: self.page.evaluate("() => app.queuePrompt(0, 1)"), patience)
        assert entry["status"]["status_str"] == "success", entry["status"]
        return entry["outputs"]

    def entry_after(self, queue: Callable[[], object], patience: float = 120) -> dict[str, Any]:
        """What ComfyUI's history says of the run that ``queue`` starts, once it is over; ``patience`` is in seconds."""
        before = set(self.server.get_json("/history"))
        queue()
        for _ in range(int(patience * 5)):
            done = [entry for key, entry in self.server.get_json("/history").items() if key not in before]
            if done:
                return done[0]
            self.page.wait_for_timeout(200)
        raise AssertionError(f"the prompt was not done after {patience:.0f} s\n{self.server.log_tail()}")

    def undo(self) -> None:
        """Ctrl+Z over the canvas, once the last change has been noted."""
        self.settle()
        self.settle()
        self.settle()
        self.page.evaluate("() => document.activeElement?.blur()")
        self.page.keyboard.press("Control+z")
        self.settle()

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Keep a picture of the page, or of a part of it, in `SCREENSHOTS`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        (of or self.page).screenshot(path=path)
        return path


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    started = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: `pip install playwright`.")
    with started.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Playwright's own Chromium, or one that is installed; tests are skipped where there is none."""
    started = start_browser(playwright)
    if started is None:
        pytest.skip(NO_BROWSER)
    yield started
    started.close()


def start_browser(playwright: Playwright) -> Browser | None:
    from playwright.sync_api import Error

    # a container's root may not use the sandbox; only pages of our own server are opened
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    own = playwright.chromium.executable_path
    found = [own] if Path(own).exists() else [path for name in BROWSERS if (path := shutil.which(name))]
    if found:
        return playwright.chromium.launch(executable_path=found[0], args=arguments)
    for channel in ("chrome", "msedge"):  # where Windows and macOS have them
        try:
            return playwright.chromium.launch(channel=channel, args=arguments)
        except Error:
            continue
    return None


@pytest.fixture(scope="session")
def prepared_server(server: ComfyServer, demo_models: Path | None) -> ComfyServer:
    """The server with the demo's input pictures, and with settings that keep dialogs away."""
    if demo_models is None:
        pytest.skip("INCONTEXT_LORA_BASE is not set; `python run.py test` writes the demo models and sets it.")
    sets.write_inputs(server.base / "input")
    return server


@pytest.fixture(scope="session")
def opened(browser: Browser, prepared_server: ComfyServer) -> Iterator[Interface]:
    """The one page that tests share, since loading it takes seconds."""
    interface = open_interface(browser, prepared_server)
    yield interface
    interface.page.context.close()


def open_interface(browser: Browser, server: ComfyServer, sharpness: float = 1) -> Interface:
    """A page with ComfyUI's interface, without dialogs in the way; ``sharpness`` is in pixels of a picture per pixel of it."""
    server.post_json("/settings", SETTINGS)
    context = browser.new_context(viewport=WINDOW, device_scale_factor=sharpness)  # pyright: ignore[reportArgumentType]
    context.set_default_timeout(PATIENCE)
    context.add_init_script(f"({NO_BANNERS})()")
    opened = Interface(context.new_page(), server, [])
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.open()
    return opened


@pytest.fixture
def interface(opened: Interface) -> Iterator[Interface]:
    """The interface with a new workflow on the classic canvas; a script that throws fails the test."""
    for name, value in SETTINGS.items():
        opened.setting(name, value)
    opened.set_vue_nodes(False)
    opened.clear()
    opened.errors.clear()
    yield opened
    assert opened.errors == []


@pytest.fixture(params=[False, True], ids=["classic", "nodes-2.0"])
def either(request: pytest.FixtureRequest, interface: Interface) -> Interface:
    """The interface with one renderer, then with the other."""
    interface.set_vue_nodes(request.param)
    return interface
