"""Build the images of the Dockerfile and run them: sizes, start times, and what they cannot do.

    python -m benchmarks.containers --lfw LFW/lfw-deepfunneled [--targets identify worker rebuild]

Where docker or podman works, it is used. Elsewhere, which takes root, buildah builds, and commands
run by chroot in the image's files; a base image that cannot be pulled is made by debootstrap, with
Debian's Python. Either way the user is one whom the image does not know, the root is read-only,
/tmp is in memory, and there is no network. Sizes are given with the base and above it.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BASE = "docker.io/library/python:3.12-slim"
LIMIT_MB = 500  # of the target `identify`
USER = "12345:12345"
ROOT = Path(__file__).resolve().parent.parent
MEMORY = Path("tmpfs")  # in place of a folder that is mounted
PEOPLE = 5  # enrolled by one photo each, found on another
# Runs the command after it, and prints the CPU time of its process.
CPU_SECONDS = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)"""


def output(*command: str | Path) -> str:
    """Return what a command prints, or exit with the end of its messages."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        text = (done.stdout + done.stderr)[-3000:]
        sys.exit(f"{command[0]} {command[1]} failed with status {done.returncode}:\n{text}")
    return done.stdout


class Docker:
    """Builds and runs by the docker command, or podman's."""

    def __init__(self, program: str) -> None:
        self.program = program

    def build(self, target: str, image: str) -> None:
        """Build a target of the Dockerfile."""
        output(self.program, "build", "--target", target, "--tag", image, ".")

    def inspect(self, image: str) -> tuple[float, str]:
        """Return the size of an image's files, in units of 1,000,000 bytes, and its user."""
        shown = output(
            self.program, "image", "inspect", "--format={{.Size}} {{.Config.User}}", image
        )
        size, _, user = shown.strip().partition(" ")
        return int(size) / 1e6, user

    def command(self, image: str, words: Sequence[str], here: Path) -> list[str]:
        """Return the command that runs words inside, in a folder of this machine."""
        limits = ["--rm", "--read-only", "--tmpfs=/tmp", "--network=none", f"--user={USER}"]
        place = [f"--volume={here}:/here", "--workdir=/here", f"--entrypoint={words[0]}"]
        return [self.program, "run", *limits, *place, image, *words[1:]]

    def close(self) -> None:
        """Do nothing: the containers removed themselves."""


class Chroot:
    """Builds by buildah, and runs by chroot in the files of containers that nobody else uses."""

    def __init__(self) -> None:
        os.environ.setdefault("BUILDAH_ISOLATION", "chroot")
        self._containers: dict[str, str] = {}

    def build(self, target: str, image: str) -> None:
        """Build a target of the Dockerfile, with the certificates and settings of this machine."""
        pull = ["buildah", "pull", BASE]
        if not self.has(BASE) and subprocess.run(pull, capture_output=True).returncode:
            self.make_debian(BASE, "bookworm", "python3-venv,python3-pip,ca-certificates")
        with tempfile.NamedTemporaryFile("w") as settings:
            settings.write("system-certs = true\n")
            settings.flush()
            mounts = [f"--volume={settings.name}:/etc/uv/uv.toml:ro"]
            for path in ("/etc/ssl/certs", "/etc/pip.conf", "/etc/resolv.conf"):
                mounts += [f"--volume={path}:{path}:ro"] if Path(path).exists() else []
            options = ["--network=host", *mounts, f"--target={target}", f"--tag={image}"]
            output("buildah", "bud", *options, ".")

    @staticmethod
    def make_debian(image: str, suite: str, packages: str) -> None:
        """Make an image with packages of Debian, without documents, translations and lists."""
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch, "tree")
            output("debootstrap", "--variant=minbase", f"--include={packages}", suite, tree)
            for name in ("doc", "man", "locale", "info"):
                shutil.rmtree(tree / "usr/share" / name)
            for folder in (tree / "var/cache/apt", tree / "var/lib/apt/lists"):
                shutil.rmtree(folder)
            for path in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                path.unlink()
                (tree / "usr/bin/python").symlink_to("python3")
            container = output("buildah", "from", "scratch").strip()
            output("buildah", "copy", container, tree, "/")
            output("buildah", "config", "--env=PATH=/usr/local/bin:/usr/sbin:/usr/bin", container)
            output("buildah", "commit", "--rm", container, image)

    @staticmethod
    def has(image: str) -> bool:
        """Return whether an image is there."""
        return image in output("buildah", "images", "--format={{.Name}}:{{.Tag}}").split()

    def config(self, image: str) -> dict[str, Any]:
        """Return an image's settings: User, Env, Entrypoint, ..."""
        return dict(
            json.loads(output("buildah", "inspect", "--type=image", image))["OCIv1"]["config"]
        )

    def root(self, image: str) -> Path:
        """Return the folder with the files of a container of an image."""
        if image not in self._containers:
            self._containers[image] = output("buildah", "from", "--pull-never", image).strip()
        return Path(output("buildah", "mount", self._containers[image]).strip())

    def inspect(self, image: str) -> tuple[float, str]:
        """Return the size of an image's files, in units of 1,000,000 bytes, and its user."""
        size = output("du", "-s", "--apparent-size", "--block-size=1", self.root(image))
        return int(size.split()[0]) / 1e6, self.config(image).get("User", "")

    def command(self, image: str, words: Sequence[str], here: Path) -> list[str]:
        """Return the command that runs words inside, in a folder of this machine."""
        mounts = {"/tmp": MEMORY, "/here": here}
        words = ["env", "--chdir=/here", *words]
        return ["unshare", "--net", *self.inside(image, words, USER, mounts, ())]

    def inside(
        self,
        image: str,
        words: Sequence[str],
        user: str,
        mounts: Mapping[str, Path],
        variables: Iterable[str],
    ) -> list[str]:
        """Return the command that runs words as a user of an image, in the network of this."""
        root = self.root(image)
        steps = [f"mount --bind {root} {root}"]
        for place, path in mounts.items():
            inner = Path(f"{root}{place}")
            inner.touch() if path.is_file() else inner.mkdir(parents=True, exist_ok=True)
            kind = "-t tmpfs -o mode=1777 tmpfs" if path == MEMORY else f"--bind {path}"
            steps.append(f"mount {kind} {inner}")
        steps += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        steps += [f"mount -o remount,bind,ro {root}", 'exec "$@"']
        settings = [*self.config(image)["Env"], *variables]
        chroot = ["chroot", f"--userspec={user}", str(root), "env", "-i", *settings]
        return ["unshare", "--mount", "sh", "-ec", "\n".join(steps), "sh", *chroot, *words]

    def close(self) -> None:
        """Remove the containers."""
        for container in self._containers.values():
            output("buildah", "rm", container)


def engine() -> Docker | Chroot:
    """Return the first engine that works."""
    for program in filter(shutil.which, ("docker", "podman")):
        if not subprocess.run([program, "info"], capture_output=True).returncode:
            return Docker(program)
    if not shutil.which("buildah") or os.geteuid():
        sys.exit("This needs docker or podman, or buildah and root.")
    return Chroot()


def check_identify(containers: Docker | Chroot, image: str, here: Path, lfw: Path) -> list[str]:
    """Name people in a folder, and print what it takes; return what is wrong."""
    folders = [path for path in sorted(lfw.iterdir()) if len(list(path.iterdir())) > 2][:PEOPLE]
    expected = {}
    for folder in folders:
        first, second, *_ = sorted(folder.iterdir())
        for source, place in ((first, here / "people" / folder.name), (second, here / "photos")):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
        expected[second.name] = folder.name.replace("_", " ")
    here.chmod(0o777)
    for words in (
        ["faceops", "--help"],
        ["faceops", "enrol", "people"],
        ["faceops", "identify", "photos", "--out", "found"],
        ["faceops", "--version"],  # the health check
    ):
        start = time.monotonic()
        inner = ["python", "-c", CPU_SECONDS, *words]
        cpu = float(output(*containers.command(image, inner, here)).split()[-1])
        print(f"{' '.join(words):<44}{time.monotonic() - start:6.1f} s, {cpu:5.2f} s of CPU")
    with (here / "found/faces.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["decision"] == "identified"]
    found = {Path(row["photo_path"]).name: row["person"] for row in rows}
    problems = [] if found == expected else [f"{image} named {found}, not {expected}"]
    for place in ("/opt/faceops", "/home/faceops", "/etc"):
        write = containers.command(image, ["touch", f"{place}/written"], here)
        if not subprocess.run(write, capture_output=True).returncode:
            problems.append(f"{image} could write in {place}")
    return problems


def main() -> None:
    """Build the targets, measure, and exit with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True, help="a folder for each person")
    parser.add_argument("--targets", nargs="+", default=["identify", "worker", "rebuild"])
    args = parser.parse_args()
    containers, problems = engine(), []
    try:
        for target in args.targets:
            image, start = f"localhost/faceops-{target}", time.monotonic()
            containers.build(target, image)
            seconds = time.monotonic() - start
            (size, user), (base, _) = containers.inspect(image), containers.inspect(BASE)
            print(f"{target}: {size:.0f} MB, {size - base:.0f} above its base, in {seconds:.0f} s")
            problems += [f"{image} runs as root"] if user in ("", "0", "root") else []
            if target == "identify":
                problems += [f"{image} is over {LIMIT_MB} MB"] if size > LIMIT_MB else []
                with tempfile.TemporaryDirectory() as here:
                    problems += check_identify(containers, image, Path(here), args.lfw)
    finally:
        containers.close()
    sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
