"""Errors that are told to the user as one sentence, without a traceback."""


class FaceOpsError(Exception):
    """The job failed: the message names the file, key or value and what to do (exit code 1)."""

    exit_code = 1


class UsageError(FaceOpsError):
    """The command was called wrongly: an argument, a parameter file (exit code 2)."""

    exit_code = 2


class StoreError(FaceOpsError):
    """MLflow's store did not do what it was asked to: it may be away, and back a moment later."""
