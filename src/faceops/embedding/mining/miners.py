"""shim"""

from faceops.embedding.mining.batch_hard_miner import mine_batch_hard
from faceops.embedding.mining.semi_hard_miner import mine_semi_hard

MINERS = {
    "semi_hard": lambda d, l, m, g: mine_semi_hard(d, l, m),
    "batch_hard": lambda d, l, m, g: mine_batch_hard(d, l),
}
