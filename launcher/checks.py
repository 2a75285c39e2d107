"""The command `test`: linters, the tests of every kind, and a summary."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .comfyui import get_or_build_tools
from .errors import SetupError
from .interpreters import missing_modules, tool_command
from .pack import ROOT
from .processes import run_child
from .progress import say
from .tools import find_node, install_chromium
from .work import Work, require_repository, set_up

PYTEST_KINDS = ("unit", "host", "e2e", "training", "browser")
KINDS = (*PYTEST_KINDS, "js")


@dataclass(frozen=True)
class StepResult:
    """One line of the summary.

    Attributes:
        name: what ran.
        code: exit code; None if the step was skipped.
        seconds: how long it took.
        reason: why it was skipped.
    """

    name: str
    code: int | None
    seconds: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        if self.code is None:
            return f"{self.name:<14} skipped  {self.reason}"
        verdict = "passed" if self.code == 0 else "FAILED"
        return f"{self.name:<14} {verdict}   {self.seconds:.0f} s" + (f" (exit code {self.code})" if self.code else "")


def test(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Run every step even if one fails; the exit code is 1 if any did."""
    require_repository("tests", "The tests")
    work = set_up()
    tools = get_or_build_tools(work.cache, work.host, work.progress) if work.host.managed else None
    steps = [] if options.kinds else list(run_style_checks(work, tools))
    for kind in options.kinds or KINDS:
        steps.append(run_js_tests(work, tools) if kind == "js" else run_pytest(work, tools, kind, extra))
    say("\n" + "\n".join(map(str, steps)), stream=sys.stdout)
    return 1 if any(step.code for step in steps) else 0


def run_check(work: Work, name: str, command: Sequence[str], **environment: str) -> StepResult:
    say(f"\n== {name}", stream=sys.stdout)
    started = time.monotonic()
    code = run_child(command, ROOT, {**work.environment, **environment})
    return StepResult(name, code, time.monotonic() - started)


def run_style_checks(work: Work, tools: Path | None) -> Iterator[StepResult]:
    """Run the linter, the formatter and the type checker, if they are installed."""
    python = str(work.host.python)
    commands = {
        "ruff check": ("ruff", "check", "."),
        "ruff format": ("ruff", "format", "--check", "."),
        "pyright": ("pyright", "--pythonpath", python),
    }
    missing = [] if tools else missing_modules(work.host.python, "ruff", "pyright") or []
    for name, (module, *arguments) in commands.items():
        if module in missing:
            yield StepResult(name, None, reason=f"{module} is not installed in {python}")
            continue
        # keeps pyright from looking for a newer version on the network; its wheel is complete
        command = tool_command(work.host.python, tools, module, *arguments)
        yield run_check(work, name, command, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")


def run_pytest(work: Work, tools: Path | None, kind: str, extra: Sequence[str]) -> StepResult:
    folder = ROOT / "tests" / kind
    if not any(folder.rglob("test_*.py")):
        return StepResult(kind, None, reason=f"there are no tests in tests/{kind}")
    missing = [] if tools else missing_modules(work.host.python, "pytest", "hypothesis") or []
    if missing:
        names = " ".join(missing)
        raise SetupError(
            f"The tests need {' and '.join(missing)} in addition to ComfyUI. Run `{work.host.python} -m pip install {names}`."
        )
    if kind == "browser":
        if not tools and missing_modules(work.host.python, "playwright"):
            return StepResult(
                kind, None, reason=f"playwright is not installed: run `{work.host.python} -m pip install playwright`"
            )
        if work.host.managed:
            install_chromium(work)
    command = tool_command(work.host.python, tools, "pytest", str(Path("tests") / kind), *extra)
    return run_check(work, kind, command)


def run_js_tests(work: Work, tools: Path | None) -> StepResult:
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "js").glob("*.test.mjs"))
    if not files:
        return StepResult("js", None, reason="there are no tests in tests/js")
    node = find_node(tools)
    if not node:
        return StepResult("js", None, reason="node is not installed (Node 20 or newer runs them)")
    return run_check(work, "js", [node, "--test", *files])
