"""The worst mistakes and a map of faces, to look at."""

from faceops.evaluation.mistake_sheets import ONE_PERSON, TWO_PEOPLE
from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Pairs, Picture, Section, Table, Text, absent

TITLE = "The worst mistakes"


def mistakes_section(facts: Facts, pictured: bool) -> Section:
    """Both lists of pairs; `pictured` says whether they are at hand."""
    if not pictured:
        why = "No pictures: the protocol that was run does not look at all pairs (all does)."
        return absent("mistakes", TITLE, why)
    told = (
        "Whether a pair is of one person is what the labels say. A wrong label is no mistake of "
        "the model; it stands at the top here. A photo is shown in its worst pair only. "
        + (
            "p is the stated probability of one person; 1-2e-07 is 1 minus 0.0000002. "
            if facts.thresholds
            else "The squared distance of the embeddings stands with each pair. "
        )
        + "mistakes.csv has the same list."
    )
    return Section(
        "mistakes",
        TITLE,
        [
            Text(told),
            Pairs(TWO_PEOPLE, "Two people who look alike most"),
            Pairs(ONE_PERSON, "One person whose photos look alike least"),
        ],
    )


def map_section(facts: Facts) -> Section:
    """The map of some people's faces."""
    told = (
        "Some people with several photos, placed by t-SNE: who lies side by side is alike to the "
        "model. Distances mean nothing. A colour frames the photos of one person; it comes again."
    )
    picture = Picture("similarity_map.png", "Faces of some people, alike ones near", wide=True)
    return Section("map", "A map of faces", [Text(told), picture])


def training_section(facts: Facts) -> Section:
    """Loss and validation score by epoch."""
    key, title = "training", "Training"
    if not facts.history:
        return absent(key, title, "The history of the training is not at hand.")
    if len(facts.history) < 2:
        return absent(key, title, "No epoch of training: the start was kept as it was.")
    rows = [
        [row["epoch"], row["phase"], row["loss"] or "-", row["val_tar"] or "-"]
        for row in facts.history
    ]
    header = ["epoch", "phase", "loss", "TAR at FAR 1e-3, validation people"]
    picture = Picture("loss.png", "Loss and validation score by epoch")
    return Section(key, title, [picture, Table(header, rows)])
