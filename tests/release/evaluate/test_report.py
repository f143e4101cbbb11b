"""The model card says a release's parts, training data and licences."""

from faceops.release.contract import EMBEDDER
from faceops.release.evaluate.report import about_release, model_card
from faceops.weights import read_catalogue


def test_the_card_names_contract_people_and_terms(tiny_bundle):
    figures = {"people": 12, "photos": 99}
    card = model_card(tiny_bundle.release, figures, read_catalogue())
    assert f"Contract id {tiny_bundle.release.contract_id}" in card
    assert "Trained on: 8 people, 80 photos." in card
    assert "MS-Celeb-1M" in card  # SFace's terms
    assert card == model_card(tiny_bundle.release, figures, read_catalogue())


def test_training_people_of_a_published_embedder_fitted_the_verifier(tiny_bundle):
    release = tiny_bundle.release
    published = release.weights[EMBEDDER].model_copy(
        update={"source": "sface: SFace, as published, not trained further"}
    )
    weights = release.weights | {EMBEDDER: published}
    about = about_release(release.model_copy(update={"weights": weights}), {})
    assert "Verifier fitted on: 8 people, 80 photos." in about.seen
