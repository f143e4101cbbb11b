"""A value and its row in one integer, so that one sort orders by value and then by row."""

import torch

_ROW_BITS = 32
_LAST_ROW = (1 << _ROW_BITS) - 1


def rank_keys(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return int64 keys: the larger the value, and of equal values the lower the row, the larger.

    Args:
        values: float32, no NaN; -inf says that there is no such row.
        rows: int64 of the same shape, 0 to 2^32 - 1.
    """
    bits = (values + 0.0).view(torch.int32)  # the sum turns -0 into 0: they are equal
    # As integers, floats rise with their values, but negative ones fall: turn these round.
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (rising << _ROW_BITS) | (_LAST_ROW - rows)


def rows_of_keys(keys: torch.Tensor) -> torch.Tensor:
    """Return the rows, int64; -1 where the value was -inf."""
    return torch.where(exists(keys), _LAST_ROW - (keys & _LAST_ROW), -1)


def same_value(keys: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return bool: whether two keys were made of equal values."""
    return keys >> _ROW_BITS == others >> _ROW_BITS


def exists(keys: torch.Tensor) -> torch.Tensor:
    """Return bool: whether a key's value was above -inf."""
    return keys >> _ROW_BITS > _NOTHING


_NOTHING = int(rank_keys(torch.tensor(-torch.inf), torch.tensor(0))) >> _ROW_BITS
