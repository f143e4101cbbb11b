"""A batch run starts without what takes seconds to import and runs on ONNX Runtime alone."""

import json
import subprocess
import sys
from pathlib import Path

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
import json, sys
import faceops.identification.run, faceops.gallery.enrol, faceops.identification.records.drawings
loaded = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps(loaded))
"""


def test_importing_the_engine_brings_in_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


RUN = """
import sys
from pathlib import Path
from pathlib import Path
from faceops.gallery.store import Gallery
from faceops.identification.run import IdentifySettings, identify
from faceops.release.bundle import Bundle
photo, gallery, bundle, out = map(Path, sys.argv[1:])
identify(photo, Gallery.open(gallery), Bundle.load(bundle), out, IdentifySettings(annotate=True))
print([name for name in HEAVY if name in sys.modules])
""".replace("HEAVY", str(HEAVY))


def test_a_whole_run_brings_in_nothing_heavy(
    album: Path, gallery_dir: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    arguments = map(str, (album, gallery_dir, sface_bundle, tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


AGAIN = """
import sys
import faceops.cli
code = faceops.cli.main(sys.argv[1:])
heavy = ("faceops.release.bundle", "faceops.identification.run")
print(code, [name for name in heavy if name in sys.modules])
"""


def test_where_nothing_has_changed_not_even_a_model_is_loaded(
    album: Path, gallery_dir: Path, sface_bundle: Path, tmp_path: Path
) -> None:
    options = ["--gallery", gallery_dir, "--bundle", sface_bundle, "--out", tmp_path / "out"]
    command = [sys.executable, "-c", AGAIN, "identify", str(album), *map(str, options)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert "bundle" in first.splitlines()[-1]
    assert "nothing has changed" in second
    assert second.splitlines()[-1] == "0 []"
