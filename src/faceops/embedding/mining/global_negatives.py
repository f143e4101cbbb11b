"""For each anchor the nearest faces of other people, among all training faces (global mining)."""

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch

from faceops.base.progress import track
from faceops.embedding.mining.faces_by_person import FacesByPerson
from faceops.embedding.mining.nearest_strangers import nearest_strangers
from faceops.embedding.mining.tile_shape import ON_CPU, ON_GPU, TileShape, TileSpace


@torch.no_grad()
def nearest_negatives(
    bank: torch.Tensor,
    labels: torch.Tensor,
    anchors: torch.Tensor,
    nearest: int,
    skip: int = 0,
    shape: TileShape | None = None,
) -> torch.Tensor:
    """Return for each anchor the `nearest` nearest faces of other people after the first `skip`.

    The very nearest stranger is often a twin, or the same person under another name: a negative
    that teaches the wrong thing. Nearest is by squared L2 distance; of equally near faces the lower
    row comes first. Distances are float32, so two that differ by less than 1e-6 may change places.

    The work is one matrix product of anchors and bank in tiles. Of a tile only the maxima of its
    groups of 8 faces are kept; the best groups are then computed again, face by face: in those
    are all faces sought (see `largest_of_columns`). Memory is that of a second copy of the bank
    and, for each thread, of some tiles. On a CPU each of torch's threads has anchors of its own:
    none waits for another, also where other work shares the cores.

    Args:
        bank: float32 (N, D), L2-normalised.
        labels: int64 (N,), the person of each row.
        anchors: int64 (A,), rows of `bank`.
        nearest, skip: at least 0.
        shape: of the tiles; by default what suits the device of `bank`.

    Returns:
        int64 (A, nearest) rows of `bank`, the nearest first; -1 where there are no more.
    """
    shape = shape or (ON_CPU if bank.device.type == "cpu" else ON_GPU)
    found = torch.full((len(anchors), nearest), -1, device=bank.device)
    if found.numel() == 0:
        return found
    labels, anchors = labels.to(bank.device), anchors.to(bank.device)
    faces = FacesByPerson(bank, labels, shape)
    blocks = torch.argsort(labels[anchors], stable=True).split(shape.anchors)
    threads = torch.get_num_threads()
    workers = min(threads if bank.device.type == "cpu" else 1, len(blocks))
    spaces: SimpleQueue[TileSpace] = SimpleQueue()
    for _ in range(workers):
        spaces.put(TileSpace(shape, len(faces.faces), bank.device))

    def mine(block: torch.Tensor) -> None:
        space = spaces.get()
        try:
            with torch.no_grad():  # the setting is a thread's own
                best = nearest_strangers(faces, anchors[block], skip + nearest, space)
        finally:
            spaces.put(space)
        found[block] = best[:, skip:]

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in track(pool.map(mine, blocks), "mining negatives", len(blocks)):
                pass
    finally:
        torch.set_num_threads(threads)
    return found
