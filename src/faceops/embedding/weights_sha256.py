"""A key for what a network's weights have made."""

import hashlib

from torch import nn


def weights_sha256(network: nn.Module) -> str:
    """Return a sha256 over the names and values of all that `network` stores."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
