"""Why a job ends early."""

from __future__ import annotations


class JobError(Exception):
    """The job cannot run. The message is a sentence for the user."""


class TrainingStop(Exception):
    """The user asked for a stop, and the state is saved."""


class SampleStop(Exception):
    """The user asked for a stop while a sample was made."""
