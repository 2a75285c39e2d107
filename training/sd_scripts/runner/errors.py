"""Why a job ends early."""

from __future__ import annotations


class JobError(Exception):
    """The job cannot run. The message is for the user."""


class TrainingStop(Exception):
    """The user asked for a stop, and everything worth keeping is saved."""


class SampleStop(Exception):
    """The user asked for a stop while a sample was being made."""
