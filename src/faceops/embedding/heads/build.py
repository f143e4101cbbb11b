"""shim"""

from faceops.embedding.heads.cosface import CosFace

ClassificationHead = CosFace


def build_head(name, embedding_size, people, scale, margin):
    return CosFace(embedding_size, people, scale, margin)
