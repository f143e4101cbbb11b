"""The schedules: Prefect flows around the pipeline and the batch identification."""

import logging
import os

import faceops  # noqa: F401  before prefect: it turns the analytics of libraries off
from faceops.base.shortage import user_error

# On a busy machine Prefect's own server for one run takes longer than its default of 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback from a record of Prefect about an error that is a sentence for users."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, Exception) and user_error(error) is not None:
        record.exc_info = None
    return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_without_traceback)
