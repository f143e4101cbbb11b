"""Build the images of the Dockerfile without an engine, and run them: sizes and times.

    python -m benchmarks.containers --lfw LFW/lfw-deepfunneled [--targets identify worker rebuild]

It takes root and buildah. A base image that cannot be pulled is made by debootstrap, with Debian's
Python. Commands run by chroot in the image's files, as a user whom the image does not know, with a
read-only root and without a network. Sizes are those of the files, in units of 1,000,000 bytes.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import FACEOPS, ROOT, output, timed
from experiments import parser

BASE = "docker.io/library/python:3.12-slim"
LIMIT_MB = 500  # of the target `identify`
USER = "12345:12345"
MEMORY = Path("tmpfs")  # in place of a folder that is mounted
PEOPLE = 5  # enrolled by one photo each, found on another
COMMANDS = {  # of each target, after its health check
    "identify": ["faceops --help", "faceops enrol people", "faceops identify photos --out found"],
    "worker": ["python -m flows.identify --help"],
    "rebuild": ["dvc repro"],
}
# What a user mounts: the folder of the call, and what programs write that is not kept.
WRITABLE = {
    "identify": ["/tmp"],
    "worker": ["/tmp"],
    "rebuild": ["/tmp", "/var/tmp", "/home/faceops"],
}


class Containers:
    """Builds by buildah, and runs by chroot in the files of containers that nobody else uses."""

    def __init__(self) -> None:
        if not shutil.which("buildah") or os.geteuid():
            sys.exit("This needs buildah and root.")
        os.environ.setdefault("BUILDAH_ISOLATION", "chroot")
        self._containers: dict[str, tuple[str, Path]] = {}

    def build(self, target: str, image: str) -> None:
        """Build a target of the Dockerfile, with the certificates and settings of this machine."""
        pull = ["buildah", "pull", BASE]
        if not self.has(BASE) and subprocess.run(pull, capture_output=True).returncode:
            self.make_base()
        with tempfile.NamedTemporaryFile("w") as settings:
            settings.write("system-certs = true\n")
            settings.flush()
            mounts = [f"--volume={settings.name}:/etc/uv/uv.toml:ro"]
            for path in ("/etc/ssl/certs", "/etc/pip.conf", "/etc/resolv.conf"):
                mounts += [f"--volume={path}:{path}:ro"] if Path(path).exists() else []
            options = ["--layers", "--format=docker", "--network=host", *mounts]
            output("buildah", "bud", *options, f"--target={target}", f"--tag={image}", ".")

    @staticmethod
    def has(image: str) -> bool:
        """Return whether an image is there."""
        return image in output("buildah", "images", "--format={{.Name}}:{{.Tag}}").split()

    @staticmethod
    def make_base() -> None:
        """Make BASE with packages of Debian, without documents, translations and lists."""
        container = output("buildah", "from", "scratch").strip()
        with tempfile.TemporaryDirectory() as tree:
            # In memory, since dpkg waits for the disk after each file.
            output("mount", "-t", "tmpfs", "tmpfs", tree)
            try:
                packages = "--include=python3-venv,python3-pip,ca-certificates,tzdata"
                output("debootstrap", "--variant=minbase", packages, "bookworm", tree)
                for name in ("doc", "man", "locale", "info"):
                    shutil.rmtree(Path(tree, "usr/share", name))
                for name in ("cache/apt", "lib/apt/lists"):
                    shutil.rmtree(Path(tree, "var", name))
                for path in Path(tree).glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                    path.unlink()
                    Path(tree, "usr/bin/python").symlink_to("python3")
                output("buildah", "copy", container, tree, "/")
            finally:
                output("umount", tree)
        output("buildah", "config", "--env=PATH=/usr/local/bin:/usr/sbin:/usr/bin", container)
        output("buildah", "commit", "--rm", container, BASE)

    @staticmethod
    @cache
    def config(image: str) -> dict[str, Any]:
        """Return an image's settings: User, Env, Healthcheck, ..."""
        shown = json.loads(output("buildah", "inspect", "--type=image", image))
        return dict(shown["Docker"]["config"])

    def root(self, image: str) -> Path:
        """Return the folder with the files of a container of an image."""
        if image not in self._containers:
            name = output("buildah", "from", "--pull-never", image).strip()
            self._containers[image] = name, Path(output("buildah", "mount", name).strip())
        return self._containers[image][1]

    def size(self, image: str) -> float:
        """Return the size of an image's files, in units of 1,000,000 bytes."""
        size = output("du", "-s", "--apparent-size", "--block-size=1", self.root(image))
        return int(size.split()[0]) / 1e6

    def largest(self, image: str, count: int = 12) -> str:
        """Return the largest packages of Python, with their sizes in MB."""
        (packages,) = self.root(image).glob("opt/faceops/lib/python3*/site-packages")
        rows = output("du", "-d1", "--apparent-size", "--block-size=1000000", packages)
        sizes = sorted((row.split("\t") for row in rows.splitlines()), key=lambda row: -int(row[0]))
        return ", ".join(f"{Path(path).name} {size}" for size, path in sizes[1 : count + 1])

    def command(self, image: str, words: Sequence[str], mounts: Mapping[str, Path]) -> list[str]:
        """Return the command that runs words in an image with a read-only root.

        `mounts` are folders by their places inside; the first is the working directory.
        """
        root = self.root(image)
        steps = [f"mount --bind {root} {root}"]
        for place, path in mounts.items():
            inner = Path(f"{root}{place}")
            inner.mkdir(parents=True, exist_ok=True)
            memory = "-t tmpfs -o mode=1777,noexec,nosuid,nodev tmpfs"
            steps.append(f"mount {memory if path == MEMORY else f'--bind {path}'} {inner}")
        steps += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        steps += [f"mount -o remount,bind,ro {root}", 'exec "$@"']
        settings = ["-i", f"--chdir={next(iter(mounts))}", *self.config(image)["Env"]]
        chroot = ["setpriv", "--no-new-privs", "chroot", f"--userspec={USER}", str(root)]
        shell = ["unshare", "--mount", "sh", "-ec", "\n".join(steps), "sh"]
        return [*shell, *chroot, "env", *settings, *words]

    def close(self) -> None:
        """Remove the containers."""
        for container, _ in self._containers.values():
            output("buildah", "rm", container)


def copy_album(lfw: Path, here: Path) -> dict[str, str]:
    """Put photos of people into `people` and others into `photos`; return who is on the latter."""
    expected = {}
    folders = [path for path in sorted(lfw.iterdir()) if len(list(path.iterdir())) > 2]
    for folder in folders[:PEOPLE]:
        first, second, *_ = sorted(folder.iterdir())
        for source, place in ((first, here / "people" / folder.name), (second, here / "photos")):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
        expected[second.name] = folder.name.replace("_", " ")
    return expected


def check(containers: Containers, target: str, image: str, here: Path, lfw: Path) -> list[str]:
    """Run a target's commands in a folder, and print what they take; return what is wrong."""
    if target == "rebuild":
        output("git", "clone", "--quiet", ROOT, here)
        subprocess.run([*FACEOPS, "data", "synthetic"], cwd=here, check=True)
    expected = copy_album(lfw, here) if target == "identify" else {}
    output("chown", "-R", USER, here)
    mounts = {"/here": here, **dict.fromkeys(WRITABLE[target], MEMORY)}
    health = " ".join(containers.config(image)["Healthcheck"]["Test"][1:])
    for text in (health, *COMMANDS[target]):
        words = containers.command(image, text.split(), mounts)
        took = timed("unshare", "--net", *words)
        print(f"{text:<40}{took.seconds:7.1f} s, {took.cpu_seconds:6.2f} s of CPU", end="")
        print(f", {took.peak_mib:5.0f} MiB", flush=True)
    problems = []
    if expected:
        with (here / "found/faces.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["person"]]
        found = {Path(row["photo_path"]).name: row["person"] for row in rows}
        problems += [f"named {found}, not {expected}"] if found != expected else []
    for place in ("/opt/faceops", "/home", "/etc"):
        write = containers.command(image, ["touch", f"{place}/written"], mounts)
        if not subprocess.run(write, capture_output=True).returncode:
            problems.append(f"could write in {place}")
    return problems


def main() -> None:
    """Build the targets, measure, and exit with what is wrong."""
    options = parser(__doc__)
    options.add_argument("--lfw", type=Path, required=True, help="a folder for each person")
    options.add_argument("--targets", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    args = options.parse_args()
    containers, problems = Containers(), []
    try:
        for target in args.targets:
            image, start = f"localhost/faceops-{target}", time.monotonic()
            containers.build(target, image)
            seconds = time.monotonic() - start
            base, size = containers.size(BASE), containers.size(image)
            print(f"{target}: {size:.0f} MB, {size - base:.0f} above its base, in {seconds:.0f} s")
            print(f"  {containers.largest(image)}", flush=True)
            if containers.config(image).get("User", "") in ("", "0", "root"):
                problems.append(f"{target} runs as root")
            if target == "identify" and size > LIMIT_MB:
                problems.append(f"{target} is over {LIMIT_MB} MB")
            with tempfile.TemporaryDirectory() as here:
                found = check(containers, target, image, Path(here), args.lfw)
                problems += [f"{target} {problem}" for problem in found]
    finally:
        containers.close()
    sys.exit("\n".join(problems) or None)


if __name__ == "__main__":
    main()
