"""The networks: each module holds one, as an Embedder of a trunk and a head."""
