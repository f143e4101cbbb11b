"""The schedules: Prefect flows around the pipeline and the batch identification."""

import os

import faceops  # noqa: F401  before prefect: it turns the analytics of libraries off

# On a busy machine Prefect's own server for one run takes longer than its default of 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
