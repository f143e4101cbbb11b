"""The flows turn analytics off before Prefect, which starts its own at import, is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import importlib.abc, os, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "prefect":
            print(os.environ.get("DO_NOT_TRACK"))
        return None

sys.meta_path.insert(0, Watch())
import {module}
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["flows.identify", "flows.rebuild"])
def test_prefect_is_imported_with_tracking_off(repository: Path, module: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DO_NOT_TRACK"}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module=module)],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["true"]
