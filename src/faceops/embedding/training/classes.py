"""Who has a class in the classification head."""

from faceops.config.sections import Train
from faceops.embedding.labelled_crops import LabelledCrops


def classes_of(train: LabelledCrops, settings: Train) -> int:
    """Return the number of classes: the people whose labels are below it have one.

    People with one photo have one only where the warm-up draws all photos. Such a class teaches
    no likeness of two photos, but what tells its person from the others; the more people, the
    better an embedding carries over to new ones.
    """
    if settings.warmup_sampler == "uniform_all":
        return int(train.labels.max()) + 1
    return train.people
