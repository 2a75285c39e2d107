"""Exceptions that end a command."""

from __future__ import annotations


class SetupError(Exception):
    """A problem that the user can fix. The message is for the user and says how."""


class Terminated(BaseException):
    """SIGTERM arrived. Handled like KeyboardInterrupt, so that child processes are ended."""
