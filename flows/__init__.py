"""The schedules: Prefect flows around the pipeline and the batch identification."""
