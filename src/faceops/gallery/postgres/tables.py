"""The tables of a gallery, by version: a later version is a further step in `MIGRATIONS`."""

CROP_TABLES = 16  # forgetting rewrites only those that held a crop of the person

# Columns about people get no statistics: those would keep names and vectors of removed rows.
_PRIVATE = {
    "faces": ("person", "photo_id", "photo", "x", "y", "width", "height", "crop_id"),
    "entries": ("id", "time", "content"),
    "tried": ("entry", "contract", "reason"),
    "outputs": ("line",),
    "gallery": ("statement",),
}

_VERSION_1 = (
    # `change` is random and new with every change of statement or faces; `vectors` is the number
    # of the table with the embeddings, vectors_N, of the contract that the statement names.
    "CREATE TABLE gallery (one bool PRIMARY KEY CHECK (one), statement text NOT NULL, "
    "change text NOT NULL, vectors bigint NOT NULL, next_id bigint NOT NULL)",
    'CREATE TABLE faces (id bigint PRIMARY KEY, person text COLLATE "C" NOT NULL, '
    "photo_id text NOT NULL, photo text NOT NULL, x float8 NOT NULL, y float8 NOT NULL, "
    "width float8 NOT NULL, height float8 NOT NULL, detector_score float8 NOT NULL, "
    "quality float8 NOT NULL, crop_id text NOT NULL, origin text NOT NULL)",
    "CREATE INDEX faces_by_crop ON faces (crop_id)",
    # `unsaved`: stored before its face, by a writer that may have been killed.
    'CREATE TABLE crops (id text COLLATE "C" PRIMARY KEY, png bytea NOT NULL, '
    "unsaved bool NOT NULL) PARTITION BY HASH (id)",
    *(
        f"CREATE TABLE crops_{number} PARTITION OF crops "
        f"FOR VALUES WITH (MODULUS {CROP_TABLES}, REMAINDER {number})"
        for number in range(CROP_TABLES)
    ),
    *(
        f"ALTER TABLE crops_{number} ALTER id SET STATISTICS 0, ALTER png SET STATISTICS 0, "
        "ALTER png SET STORAGE EXTERNAL"
        for number in range(CROP_TABLES)
    ),
    "CREATE INDEX crops_unsaved ON crops (id) WHERE unsaved",
    # The journal of decisions, see `faceops.gallery.journal`.
    "CREATE TABLE journal (one bool PRIMARY KEY CHECK (one), change text NOT NULL)",
    "INSERT INTO journal VALUES (true, '')",
    'CREATE TABLE entries (id text COLLATE "C" PRIMARY KEY, time text COLLATE "C" NOT NULL, '
    "content text NOT NULL)",
    "CREATE INDEX entries_by_time ON entries (time, id)",
    "CREATE TABLE tried (entry text, contract text, reason text NOT NULL, "
    "PRIMARY KEY (entry, contract))",
    "CREATE TABLE outputs (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "line text NOT NULL)",
    # Tables from which rows were removed or changed since they were last rewritten.
    "CREATE TABLE unpurged (name text PRIMARY KEY)",
    *(
        f"ALTER TABLE {table} " + ", ".join(f"ALTER {one} SET STATISTICS 0" for one in columns)
        for table, columns in _PRIVATE.items()
    ),
)

MIGRATIONS: list[tuple[str, ...]] = [_VERSION_1]


def vectors_table(number: int, size: int) -> tuple[str, ...]:
    """Return the statements that make the table of a set of embeddings of `size` values."""
    name = f"vectors_{number}"
    storage = ", ALTER embedding SET STORAGE PLAIN" if size <= 1900 else ""  # fits in a page
    return (
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, embedding vector({size}) NOT NULL)",
        f"ALTER TABLE {name} ALTER embedding SET STATISTICS 0{storage}",
    )
