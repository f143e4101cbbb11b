"""Whether all ways to run identify give the same rows.

    python -m experiments.same_rows --lfw LFW/lfw-deepfunneled --out OUT [--photos 200]

Photos of LFW and the published release: one process, the flow's thread pool, the flow on a Dask
cluster with two and with four workers, photos in an S3 store, results copied to it, and a gallery
in PostgreSQL. All servers run on this machine. The rows of faces.csv and unknown.csv are compared,
without the id of the run.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks import FACEOPS, timed
from benchmarks.cluster import BUCKET, MODEL, Cluster, choose, copy_gallery, rows
from tests.postgres_server import PostgresServer


def main() -> int:
    """Run all ways; print which rows differ, exit code 1 if any do."""
    parser = argparse.ArgumentParser(prog="python -m experiments.same_rows")
    parser.add_argument("--lfw", type=Path, required=True, help="the folder lfw-deepfunneled")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--photos", type=int, default=200)
    args = parser.parse_args()
    out = args.out.resolve()
    album, expected = choose(args.lfw, args.photos, out)
    folder = str(out / "gallery")
    print(f"one process: {len(expected['faces.csv'])} rows", flush=True)
    different = []

    def compare(
        way: str, command: Sequence[str], photos: object, gallery: str, *more: str, to: str = ""
    ) -> None:
        found = out / way
        target = ("--out", to, "--state", found) if to else ("--out", found)
        timed(*command, photos, "--gallery", gallery, *MODEL, *target, *more)
        is_same = rows(found) == expected
        different.extend([] if is_same else [way])
        print(f"{way}: {'the same' if is_same else 'DIFFERENT'} rows", flush=True)

    with Cluster(out) as cluster, closing(PostgresServer()) as server:
        cluster.serve_store()
        url, identify = cluster.make_bucket(album), (*FACEOPS, "identify")
        compare("photos in S3", identify, url, folder)
        compare("results to S3", identify, album, folder, to=f"s3://{BUCKET}/results")
        database = server.address("archive")
        copy_gallery(out, database)
        compare("gallery in PostgreSQL", identify, album, database)
        flow = (sys.executable, "-m", "flows.identify")
        cluster.serve_prefect()
        address = cluster.serve_scheduler()
        cluster.add_workers(address, 2)
        dask = ("--shard-photos", "64", "--dask", address, "--shared")
        compare("thread pool", flow, album, folder, "--shard-photos", "64")
        compare("Dask, 2 workers", flow, album, folder, *dask, str(out / "shared"))
        cluster.add_workers(address, 2)
        everything = f"s3://{BUCKET}/shared"
        compare("Dask, 4 workers, photos and shards in S3", flow, url, folder, *dask, everything)
    print(f"ways with other rows: {', '.join(different) or 'none'}")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
