"""Exceptions that end a command."""

from __future__ import annotations


class SetupError(Exception):
    """Something that the user can fix; the message is one sentence for them."""


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, so that children are ended on the way out."""
