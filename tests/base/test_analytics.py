"""Usage reports of the libraries are off unless the user wants them."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from faceops.base.analytics import OPT_OUT


def run(*code: str, **own: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in OPT_OUT} | own
    done = subprocess.run(
        [sys.executable, *code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_faceops_and_a_shell_set_every_switch_that_the_user_has_not_set():
    code = "import faceops, json, os; print(json.dumps(dict(os.environ)))"
    values = json.loads(run("-c", code, DO_NOT_TRACK="0"))
    assert {key: values[key] for key in OPT_OUT} == OPT_OUT | {"DO_NOT_TRACK": "0"}
    command = ("-W", "ignore", "-m", "faceops.base.analytics")
    lines = map(shlex.split, run(*command, GX_ANALYTICS_ENABLED="it is mine").splitlines())
    exports = {(words[0], *words[1].split("=", 1)) for words in lines}
    expected = OPT_OUT | {"GX_ANALYTICS_ENABLED": "it is mine"}
    assert exports == {("export", *item) for item in expected.items()}


LIBRARIES = """
import importlib.abc, os, sys

class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "prefect":
            raise InterruptedError(os.environ.get("DO_NOT_TRACK"))

sys.meta_path.insert(0, Stop())
for flow in ("identify", "rebuild"):
    try:
        importlib.import_module(f"flows.{flow}")
    except InterruptedError as reached:
        print(reached)
del sys.meta_path[0]
from dvc.analytics import is_enabled
from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY
from prefect._internal.analytics import is_telemetry_enabled
from prefect.settings import get_current_settings
print(is_enabled(), not MLFLOW_DISABLE_TELEMETRY.get())
print(is_telemetry_enabled(), get_current_settings().server.analytics_enabled)
"""


@pytest.mark.slow
def test_the_flows_and_libraries_have_reports_off():
    """Prefect starts its own reports at import: where a flow reaches it, they must be off."""
    assert run("-c", LIBRARIES).split() == ["true"] * 2 + ["False"] * 4
