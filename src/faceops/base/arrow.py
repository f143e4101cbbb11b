"""Arrow arrays from Python and NumPy, and back, without pandas.

Arrow's own conversions, also of arguments of its functions, load pandas first, if that is
installed, which takes a second.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def text_array(values: Sequence[str | bytes | None]) -> pa.Array:
    """Return texts, those in bytes as UTF-8, as an array."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(value or b"") for value in encoded], out=offsets[1:])
    valid = np.array([value is not None for value in encoded], bool)
    content = b"".join(value or b"" for value in encoded)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [_bits(valid), pa.py_buffer(offsets), pa.py_buffer(content)]
    )


def number_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return numbers as an array of a type; NaN, or -1 of whole numbers, is null."""
    valid = values != -1 if values.dtype.kind == "i" else ~np.isnan(values)
    code = "f" if pa.types.is_floating(kind) else "i"
    typed = np.ascontiguousarray(values, f"<{code}{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, len(values), [_bits(valid), pa.py_buffer(typed)])


def plain_array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return numbers, or rows of (N, K) numbers as lists of fixed size, of the same type; no nulls.

    `kind` is int64, float32, float64, or a list of fixed size of one of them.
    """
    inner = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    content = pa.py_buffer(np.ascontiguousarray(values).reshape(-1))
    flat = pa.Array.from_buffers(inner, values.size, [None, content])
    if inner is kind:
        return flat
    return pa.Array.from_buffers(kind, len(values), [None], children=[flat])


def take_rows(columns: Any, rows: np.ndarray) -> Any:
    """Return the rows `rows`, integers (K,), of an Arrow array or table."""
    return columns.take(plain_array(rows.astype(np.int64), pa.int64()))


def numbers(column: pa.Array | pa.ChunkedArray, missing: float | None = None) -> np.ndarray:
    """Return a column of numbers, bool as 0 and 1, and `missing` for null.

    Raises: BufferError for a column with nulls and no `missing`.
    """
    if not len(column):
        return np.zeros(0, np.int64)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.uint8())
    if missing is not None:
        filling = plain_array(np.array([missing], np.float64), pa.float64())[0]
        array = pc.coalesce(array, filling.cast(array.type))
    return np.from_dlpack(array)


def places_in(column: pa.ChunkedArray, values: Sequence[str]) -> np.ndarray:
    """Return the place of each text in `values`, int64 (N,), -1 for others and for null."""
    return numbers(pc.index_in(column, text_array(values)), -1).astype(np.int64)


def _bits(valid: np.ndarray) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
