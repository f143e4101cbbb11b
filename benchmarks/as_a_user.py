"""The environment in which a benchmark runs commands: a user's, not a test machine's."""

import os


def as_a_user() -> dict[str, str]:
    """Return this process's environment without the switch that compiles every import anew."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
