"""What follows once a data folder has changed."""

NEXT = "next: dvc add {data} && dvc repro"
