"""The groups of the `faceops` command, a file each."""
