"""shim"""

from faceops.embedding.mining.batch_hard_miner import mine_batch_hard
from faceops.embedding.mining.semi_hard_miner import mine_semi_hard

MINERS = {
    "semi_hard": lambda far, who, margin, draw: mine_semi_hard(far, who, margin),
    "batch_hard": lambda far, who, margin, draw: mine_batch_hard(far, who),
}
