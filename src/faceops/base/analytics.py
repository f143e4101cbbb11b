"""The environment variables that turn off the usage reports of the libraries in use.

`import faceops` sets them; a shell gets them by
`eval "$(python -W ignore -m faceops.base.analytics)"`, where `-W ignore` silences runpy's warning
that `faceops` has imported this module already.
"""

import os
import shlex

# Read by the libraries when they are imported or first used, in this process and its children.
OPT_OUT = {
    "DO_NOT_TRACK": "true",  # Prefect's client and other tools that follow the convention
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "ITERATIVE_DO_NOT_TRACK": "1",  # a telemetry library that DVC depends on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.29 and later report on Linux and macOS too
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def opt_out() -> None:
    """Set every switch that the user has not set; the user's value takes precedence."""
    for key, value in OPT_OUT.items():
        os.environ.setdefault(key, value)


def shell_exports() -> str:
    """Return `export KEY=VALUE` lines with the values now in force, for a shell to evaluate."""
    return "\n".join(
        f"export {key}={shlex.quote(os.environ.get(key, value))}" for key, value in OPT_OUT.items()
    )


if __name__ == "__main__":
    print(shell_exports())
