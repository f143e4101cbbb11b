"""The index of the crops: one row a photo, kept or rejected."""

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("crop", pa.int32()),  # row in crops.npy, -1 when rejected
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("x", pa.float32()),  # box in pixels of the upright photo; null without a face
        ("y", pa.float32()),
        ("width", pa.float32()),
        ("height", pa.float32()),
        ("detector_score", pa.float32()),
        ("landmarks", pa.list_(pa.float32())),  # x, y of the five, 10 values
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("contrast", pa.float32()),
        ("pose", pa.float32()),
        ("quality", pa.float32()),  # the overall figure
        ("status", pa.string()),  # accepted or rejected
        ("reason", pa.string()),  # a Reason, "" when accepted
    ]
)
