#!/bin/sh
# Make a gallery, a release.json and an output folder with the code of an earlier commit.
#
# Call it in the checkout of the commit: make_fixture.sh DATA WEIGHTS TARGET (see README.md). Photos
# and people are synthetic. Of two enrolled people one is renamed and one forgotten, where the commit
# has these commands; an unknown person is in two photos. The models (ONNX), reports and MLflow's
# artifacts are left out: they are large.
set -eu
data=$(realpath "$1") weights=$(realpath "$2") target=$(realpath -m "$3")
export PYTHONPATH="$PWD/src:$PWD"
work=/tmp/upgrade # short, and no folder of a user: it is in the results
rm -rf $work
mkdir -p $work/people $work/album
cd $work

faceops() { python -c 'import sys; from faceops.cli import main; sys.exit(main())' "$@"; }

python - "$data/photos" "$weights" <<'PYTHON'
import sys
from pathlib import Path
try:
    from tests.sface_release import release_sface
except ModuleNotFoundError:
    from tests.releases import release_sface
release_sface(Path("bundle"), *map(Path, sys.argv[1:]))
try:
    from faceops.release.registry import register
except ModuleNotFoundError:  # registered otherwise
    sys.exit()
import mlflow
mlflow.set_tracking_uri("sqlite:////tmp/upgrade/mlflow.db")
mlflow.set_experiment("faceops")
with mlflow.start_run() as run:
    mlflow.log_params({"train.miner": "semi_hard"})
register(Path("bundle"), run.info.run_id, "The first release.")
import sqlite3
db = sqlite3.connect("mlflow.db", isolation_level=None)
db.execute("DELETE FROM tags WHERE key LIKE 'mlflow.%'")  # paths and users of this machine
db.execute("DELETE FROM logged_model_tags WHERE tag_key LIKE 'mlflow.%'")
db.execute("VACUUM")
PYTHON

for person in Ava_Norukova Sana_Loretova; do
    mkdir people/$person
    cp "$data/enrol/$person/${person}_0002.jpg" people/$person
done
cp "$data/album/scene_007.jpg" album # Sana Loretova and a stranger; again with other bytes:
python -c 'from PIL import Image; Image.open("album/scene_007.jpg").save("album/again.jpg", quality=90)'
faceops enrol people --bundle bundle
faceops identify album --out out --bundle bundle
faceops people rename "Ava Norukova" "Renamed Person" || true
faceops people forget "Sana Loretova" || true
rm out/faces.csv # else the results are reused
faceops identify album --out out --bundle bundle
find bundle gallery out \( -name '*.onnx' -o -name '*.html' -o -name .lock \) -delete
tar -cJf "$target" --sort=name --owner=0 --group=0 --mtime=@0 bundle gallery out $(ls mlflow.db 2>/dev/null)
