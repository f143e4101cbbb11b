"""Answer requests over HTTP: faces, names or embeddings of the photos that are posted."""
