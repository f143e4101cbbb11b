"""A gallery in a PostgreSQL database with pgvector, which several machines share."""
