"""Plain English in every text of the repository: wordings that the project does not use.

`STILL_STILTED` names files that are still to be rewritten; it should be empty, and an entry that is no longer needed fails.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import pytest
from incontext_lora.tests.repository_files import TEXT, files, read

STILL_STILTED: frozenset[str] = frozenset()

# Wordings that the project does not use, and what it says instead.
UNIT = (
    r"(?:one|two|three|px|pixels?|tokens?|steps?|seconds?|ms|sets?|lines?|captions?|files?|folders?|items?|modules?|bits|bytes|"
    r"images?|masks?|pictures?|crops?|rows?|windows?|words?|texts?|samples?|batch(?:es)?|canvas)"
)
THING = (
    r"(?:panel|set|caption|step|line|image|picture|latent|sample|file|run|model|encoder|node|page|batch|weight|layer|operation|"
    r"region|block|size|forward|pass|token|second|card|task)"
)
WORDINGS = {
    rf"\b{UNIT} an? {THING}\b": "'per', not 'a'",
    r"(?<![Tt]here )\b(?:is|are|was|were|be) no (?!longer|more|matter|doubt|one|way|need|\w+ (?:to|for) )[a-z]+": (
        "'is not a' or 'has no'"
    ),
    r"(?i)\bmend(?:s|ed|ing)?\b": "'fix'",
    r"(?i)\banew\b": "'again'",
    r"\bthat there (?:is|are)\b": "say it directly",
    r"\bnone of which\b|\bof which none\b|\bwhich there\b": "say it directly",
    r"\b(?:behind|before) (?:it|them|this) (?:come|comes|came)\b": "'after' or 'then'",
    r"\bgo(?:es)? on with\b": "'continue'",
    r"\bin so far as\b|\bwhereof\b|\bthereof\b|\bwherein\b": "say it plainly",
}
# Choices of nodes are saved in workflows, so they stay.
PUBLIC = ("one folder a set", "one picture a panel")
# other languages, and the words themselves
NOT_ENGLISH = ("locales/zh/", "tests/unit/test_words.py")


class TestWords:
    def test_are_plain(self) -> None:
        stilted = [
            f"{name}:{hit}"
            for name in files(*TEXT)
            if name not in STILL_STILTED and not name.startswith(NOT_ENGLISH)
            for hit in wordings(name)
        ]
        assert not stilted, "\n".join(stilted)

    def test_the_table_has_no_old_entries(self) -> None:
        stilted = {name for name in files(*TEXT) if wordings(name)}
        done = sorted(STILL_STILTED - stilted)
        assert not done, "these are done, so remove them from the table: " + ", ".join(done)

    @pytest.mark.parametrize(
        ("text", "is_plain"),
        [
            ("one caption a set", False),
            ("one caption per set", True),
            ("it is no tensor", False),
            ("it is not a tensor", True),
            ("it is no longer there", True),
            ("there is no tensor", True),
            ("mended, anew", False),
            ("amendments", True),
            ("a caption score that there is none of", False),
        ],
    )
    def test_a_stilted_one_would_be_seen(self, text: str, is_plain: bool) -> None:
        assert (not list(find_wordings(text))) == is_plain


@functools.cache
def wordings(name: str) -> list[str]:
    return list(find_wordings(read(name)))


def find_wordings(text: str) -> Iterator[str]:
    """Wordings that the project does not use, each as ``line: wording (what to say)``."""
    for number, line in enumerate(text.splitlines(), 1):
        for public in PUBLIC:
            line = line.replace(public, "")
        for pattern, instead in _PATTERNS:
            for found in pattern.finditer(line):
                yield f"{number}: {found.group()!r} ({instead})"


_PATTERNS = [(re.compile(pattern), instead) for pattern, instead in WORDINGS.items()]
