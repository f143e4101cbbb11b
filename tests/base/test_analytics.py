"""Usage reports of the libraries are off unless the user wants them."""

import os
import shlex
import subprocess
import sys

import pytest

from faceops.base.analytics import OPT_OUT


def run(code: list[str], **own: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in OPT_OUT} | own
    done = subprocess.run(
        [sys.executable, *code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


PRINT_ALL = (
    "import faceops, os; from faceops.base.analytics import OPT_OUT; "
    "print(*(f'{key}={os.environ[key]}' for key in OPT_OUT), sep='\\n')"
)


def test_importing_faceops_sets_every_switch_that_the_user_has_not_set() -> None:
    values = dict(line.split("=") for line in run(["-c", PRINT_ALL], DO_NOT_TRACK="0").split())
    assert values == OPT_OUT | {"DO_NOT_TRACK": "0"}


def test_a_shell_gets_the_same_switches() -> None:
    command = ["-W", "ignore", "-m", "faceops.base.analytics"]
    lines = run(command, GX_ANALYTICS_ENABLED="it is mine").splitlines()
    exports = [shlex.split(line) for line in lines]
    assert all(words[0] == "export" for words in exports)
    values = dict(words[1].split("=", 1) for words in exports)
    assert values == OPT_OUT | {"GX_ANALYTICS_ENABLED": "it is mine"}


@pytest.mark.slow
def test_the_libraries_agree_that_reports_are_off() -> None:
    code = (
        "import faceops\n"
        "from dvc.analytics import is_enabled\n"
        "from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY\n"
        "from prefect._internal.analytics import is_telemetry_enabled\n"
        "from prefect.settings import get_current_settings\n"
        "print(is_enabled(), not MLFLOW_DISABLE_TELEMETRY.get(),\n"
        "      is_telemetry_enabled(), get_current_settings().server.analytics_enabled)\n"
    )
    assert run(["-c", code]).split() == ["False"] * 4


WATCH = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "prefect":
            print(os.environ.get("DO_NOT_TRACK"))
        return None

sys.meta_path.insert(0, Watch())
import flows.identify, flows.rebuild
"""


@pytest.mark.slow
def test_the_flows_import_prefect_with_reports_off() -> None:
    """Prefect starts its own reports at import."""
    assert run(["-c", WATCH]).split() == ["true"]
