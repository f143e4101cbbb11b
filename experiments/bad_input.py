"""What a user is told about bad input: broken photos and wrong arguments, as a Markdown table.

python experiments/bad_input.py [--bundle build/export]
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from PIL import Image

FACEOPS = [sys.executable, "-m", "faceops.cli"]


def make_broken(folder: Path) -> None:
    """Write photos that are wrong, each in its own way."""
    folder.mkdir()
    Image.new("RGB", (200, 200), (120, 90, 60)).save(folder / "no_face.jpg")
    whole = (folder / "no_face.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is a letter, not a photo")
    (folder / "garbage.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    checksum = zlib.crc32(header).to_bytes(4, "big")
    end = b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    start = b"\x89PNG\r\n\x1a\n\x00\x00\x00\r"
    (folder / "huge.png").write_bytes(start + header + checksum + end)
    Image.new("RGB", (8, 8)).save(folder / "tiny.png")
    (folder / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")


def said(command: list[str]) -> tuple[int, str]:
    """Return the exit code and the last line on stderr of a `faceops` call."""
    done = subprocess.run([*FACEOPS, *command], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else ""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("build/export"))
    bundle = str(parser.parse_args().bundle.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        broken, gallery = here / "broken", str(here / "gallery")
        make_broken(broken)
        (here / "people" / "Nobody").mkdir(parents=True)
        Image.new("RGB", (200, 200)).save(here / "people" / "Nobody" / "black.jpg")
        said(["enrol", str(here / "people"), "--gallery", gallery, "--bundle", bundle])
        out = here / "out"
        asked = ["identify", str(broken), "--gallery", gallery, "--bundle", bundle]
        code, _ = said([*asked, "--out", str(out)])
        print(f"`faceops identify` on these files ends with exit code {code}; each has its row:\n")
        print("| file | decision | reason |\n| --- | --- | --- |")
        with (out / "faces.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                print(f"| {row['photo_path']} | {row['decision']} | {row['reason']} |")
        (here / "params.yaml").write_text("train: {backbone: vgg}\n")
        (here / "one_person").mkdir()
        calls = [
            ["identify", str(here / "none"), "--out", str(out)],
            [*asked, "--out", str(broken / "out")],
            [*asked, "--out", str(out), "--budget", "5"],
            [*asked[:2], "--gallery", str(here / "none"), "--out", str(out), "--bundle", bundle],
            [*asked[:4], "--out", str(out), "--bundle", str(broken)],
            [*asked[:4], "--out", str(out), "--model", "champion"],
            ["enrol", str(here / "none"), "--gallery", gallery],
            ["people", "forget", "Ada", "--gallery", gallery],
            ["data", "import", "lfw", str(here / "none"), "--out", str(here / "data")],
            ["data", "import", "tree", str(here / "one_person"), "--out", str(here / "data")],
            ["data", "synthetic", "--people", "0", "--out", str(here / "data")],
            ["params", "use", str(here / "params.yaml")],
            ["params", "use", "nonsense"],
            ["weights", "path", "resnet"],
            ["evaluate", "--bundle", str(here / "none")],
        ]
        print("\n| command | exit code | message |\n| --- | --- | --- |")
        for call in calls:
            code, line = said(call)
            shown = " ".join(call).replace(temporary, "…").replace(bundle, "BUNDLE")
            line = line.replace(temporary, "…").replace("|", "\\|")
            print(f"| `faceops {shown}` | {code} | {line} |")


if __name__ == "__main__":
    main()
