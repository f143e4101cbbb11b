"""A batch run starts fast and runs on ONNX Runtime alone."""

import json
import subprocess
import sys

HEAVY = [
    "torch",
    "torchvision",
    "mlflow",
    "great_expectations",
    "pandas",
    "sklearn",
    "matplotlib",
    "onnx",
]
PROBE = f"""
import json, sys, time
began = time.process_time()
import faceops.identification.run, faceops.gallery.enrol, faceops.identification.annotate
loaded = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps([loaded, time.process_time() - began]))
"""


def test_importing_the_engine_brings_in_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    loaded, seconds = json.loads(done.stdout)
    assert loaded == []
    assert seconds < 1.5  # of processor time: other processes may be busy
