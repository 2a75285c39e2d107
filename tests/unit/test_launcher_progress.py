"""The progress line, on a terminal and in a log."""

from __future__ import annotations

import io
import time

from incontext_lora.launcher.progress import Progress


class TestProgress:
    def test_quick_steps_are_not_reported(self) -> None:
        stream = io.StringIO()
        progress = Progress(stream)
        progress.start("Quick")
        progress.update()
        progress.finish()
        assert stream.getvalue() == ""

    def test_repeats_seldom_without_a_terminal(self) -> None:
        stream = io.StringIO()
        progress = Progress(stream, quiet_for=0)
        progress.start("Slow")
        for _ in range(100):
            progress.update("collecting numpy")
        progress.finish()
        assert stream.getvalue().splitlines() == ["Slow ... 0 s, collecting numpy", "Slow: done in 0 s"]

    def test_redraws_one_line_on_a_terminal(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        stream = Terminal()
        progress = Progress(stream, quiet_for=0)
        progress.start("A title " + "x" * 500)
        progress.update()
        time.sleep(0.25)
        progress.update()
        text = stream.getvalue()
        assert text.count("\r") == 2
        assert "\n" not in text
        assert len({len(line) for line in text.split("\r")[1:]}) == 1, "every redraw covers the one before"
