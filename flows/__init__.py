"""The schedules: Prefect flows around the pipeline and the batch identification."""

import logging
import os

import faceops  # noqa: F401  before prefect: it turns the analytics of libraries off
from faceops.base.errors import user_error

# On a busy machine Prefect's own server for one run takes longer than its default of 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")


_FLOWS, _TASKS = "prefect.flow_runs", "prefect.task_runs"


def _drop_traceback(record: logging.LogRecord) -> bool:
    """Remove the traceback of an error that is a sentence for users; return whether to log it.

    The filter of Prefect's loggers. Of a flow's run, the final state tells the sentence too.
    """
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, Exception) or user_error(error) is None:
        return True
    record.exc_info = None
    return record.name != _FLOWS


for _name in (_FLOWS, _TASKS):
    logging.getLogger(_name).addFilter(_drop_traceback)
