"""The sections of params.yaml, a frozen pydantic model each: one per stage, and the gate's.

The defaults are the demo's configuration; `experiments/*.yaml` override single keys.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of all sections: immutable; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# Checks of the photos; a failed one stops the pipeline if `validate.hard` lists it, else it warns.
Expectation = Literal[
    "manifest_complete",  # every photo has one row: accepted, or rejected with a reason
    "readable",  # every file is a photo that can be opened
    "format_allowed",  # every photo has one of `formats`
    "size_allowed",  # every photo is within min_side, max_megapixels and max_megabytes
    "names_well_formed",  # every photo lies in a folder with a person's name
    "one_person_a_photo",  # no photo or near duplicate lies under two people
    "no_duplicates",  # no photo lies under one person twice
    "rejected_share",  # at most max_rejected_share of the photos are rejected
    "people_enough",  # at least six people have min_photos: two per split
    "photos_enough",  # every person has min_photos; the others are used as negatives only
    "split_disjoint",  # no person and no photo is in two splits (stage split)
    "singles_negative_only",  # exactly people below min_photos are negatives only (stage split)
]


class Validate(Section):
    """Checks of the photos and of their labels, the names of their folders."""

    formats: list[str] = Field(["JPEG", "PNG", "WEBP"], description="accepted image formats")
    min_side: int = Field(48, ge=1, description="minimum width and height of a photo, pixels")
    max_megapixels: float = Field(100.0, gt=0, description="larger photos are not decoded")
    max_megabytes: float = Field(50.0, gt=0, description="larger files are not opened")
    min_photos: int = Field(
        2, ge=1, description="people with fewer photos are used as negatives only"
    )
    near_duplicate_bits: int = Field(
        0,
        ge=-1,
        le=8,
        description="Hamming distance up to which perceptual hashes are duplicates (-1 disables)",
    )
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="maximum share of photos that are rejected"
    )
    hard: list[Expectation] = Field(
        [
            "manifest_complete",
            "people_enough",
            "rejected_share",
            "split_disjoint",
            "singles_negative_only",
        ],
        description="checks whose failure stops the pipeline; the others only warn",
    )


class Crop(Section):
    """Face detection and alignment: one 112 x 112 crop per photo."""

    mode: Literal["aligned", "box", "center"] = Field(
        "aligned",
        description="aligned: by landmarks; box: face box with margin; center: no detection",
    )
    detector_size: int = Field(
        640, ge=64, description="longest side of the detector's input, pixels"
    )
    detector_threshold: float = Field(0.6, gt=0, lt=1, description="minimum detector score")
    several_faces: Literal["largest", "most_central", "skip"] = Field(
        "most_central", description="which face to use if a photo has several; skip rejects it"
    )
    min_face: int = Field(24, ge=8, description="minimum side of a face box, pixels")
    min_quality: float = Field(0.0, ge=0, le=1, description="minimum quality score of a face")
    box_margin: float = Field(
        0.2, ge=0, le=1, description="mode box: margin as a share of the box side"
    )
    center_ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="mode center: crop side as a share of the photo's (LFW 0.5, Pins 0.7)",
    )


class Split(Section):
    """Assignment of people to training, validation and test; the three are disjoint."""

    by: Literal["random", "lfw"] = Field(
        "random", description="random, or lfw: the official DevTrain and DevTest lists"
    )
    train: float = Field(0.23, gt=0, lt=1, description="share of people (by random)")
    val: float = Field(
        0.62,
        gt=0,
        lt=1,
        description="share of people (by lfw: of DevTrain); they calibrate the thresholds",
    )
    test: float = Field(0.15, gt=0, lt=1, description="share of people (by random)")
    seed: int = Field(7, ge=0, description="seed of the random split")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train + val + test must be 1")
        return self


class Train(Section):
    """Training of the embedding: a classification warm-up, then mined triplets.

    The names of backbones, heads and miners are checked by
    `faceops.embedding.check_params.check_train_params`, against their registries.
    """

    backbone: str = Field(
        "pretrained", description="a name in embedding/backbones; pretrained starts from SFace"
    )
    embedding_size: int = Field(128, ge=8, description="dimensions (pretrained: 128)")
    input_size: int = Field(
        112, ge=32, le=224, description="side of the network's input, pixels (pretrained: 112)"
    )
    colour: Literal["rgb", "grey"] = Field(
        "rgb", description="channels of the network's input (pretrained: rgb)"
    )
    freeze: bool = Field(
        True, description="pretrained: train the last layers only, on cached features"
    )
    people_per_batch: int = Field(24, ge=2, description="P of a batch of P people x K photos")
    photos_per_person: int = Field(4, ge=2, description="K of a batch of P people x K photos")
    negatives_per_batch: int = Field(
        8,
        ge=0,
        description="photos of people below validate.min_photos in a batch; miner global: of the"
        " negatives that it finds (about P x K)",
    )
    warmup_epochs: int = Field(2, ge=0, description="epochs of classification")
    warmup_sampler: Literal["balanced", "uniform", "uniform_all"] = Field(
        "balanced",
        description="balanced: P x K; uniform: each photo once per epoch, except those of people"
        " below validate.min_photos; uniform_all: every photo",
    )
    triplet_epochs: int = Field(2, ge=0, description="epochs of mined triplets after the warm-up")
    head: str = Field("cosface", description="classification head, a name in embedding/heads")
    head_scale: float = Field(32.0, gt=0, description="scale s of the head's logits")
    head_margin: float = Field(
        0.35, ge=0, lt=1.5, description="cosface: cosine margin; arcface: radians; softmax: ignored"
    )
    head_loss_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the classification loss in the triplet epochs (0 disables)",
    )
    miners: dict[str, float] = Field(
        {"semi_hard": 1.0},
        description="each miner with the share of the triplet epochs at which it ends, such as"
        " {semi_hard: 0.4, batch_hard: 1.0}",
    )
    global_skip: int = Field(
        2,
        ge=0,
        description="miner global: nearest other people skipped, per face (twins, label errors)",
    )
    global_nearest: int = Field(
        10, ge=0, description="miner global: hard negatives after those, per face"
    )
    global_random: int = Field(2, ge=0, description="miner global: random negatives, per face")
    triplet_margin: float = Field(
        0.8, gt=0, lt=4, description="margin of the triplet loss, squared L2 distance"
    )
    learning_rate: float = Field(
        0.0002, gt=0, description="peak learning rate of the cosine schedule (AdamW)"
    )
    weight_decay: float = Field(0.0005, ge=0, description="decoupled weight decay (AdamW)")
    grad_clip_norm: float = Field(5.0, gt=0, description="maximum L2 norm of the gradients")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the exponential moving average of the weights (0 disables)",
    )
    flip: bool = Field(False, description="mirror half of the crops")
    jitter: float = Field(
        0.2,
        ge=0,
        le=1,
        description="strength of shift and scale; unused with freeze, as are the next five",
    )
    brightness: float = Field(0.2, ge=0, le=1, description="strength of brightness and contrast")
    blur: float = Field(
        0.0, ge=0, le=1, description="strength of Gaussian blur (1: sigma up to 3 pixels)"
    )
    jpeg: float = Field(
        0.0, ge=0, le=1, description="strength of JPEG artefacts (1: quality down to 20)"
    )
    erase: float = Field(0.0, ge=0, le=1, description="share of crops with a random patch erased")
    occlude: float = Field(
        0.0, ge=0, le=1, description="share of crops with the lower face covered (masks, hands)"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="autocast type of the forward pass"
    )
    compile: bool = Field(False, description="compile the network (torch.compile)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: the GPU if there is one"
    )
    processes: int = Field(1, ge=1, description="data-parallel processes (torchrun)")
    patience: int = Field(
        4, ge=1, description="epochs without improvement before a phase ends (early stopping)"
    )
    min_delta: float = Field(
        0.001, ge=0, description="minimum rise of the validation score that is an improvement"
    )
    max_minutes: float = Field(0.0, ge=0, description="wall time limit (0 disables)")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="minutes between checkpoints; each epoch also ends with one"
    )
    seed: int = Field(7, ge=0, description="seed of weights, batches and augmentation")

    @field_validator("miners")
    @classmethod
    def _miners_in_order(cls, miners: dict[str, float]) -> dict[str, float]:
        # A program that wrote the file may have sorted the keys.
        in_order = dict(sorted(miners.items(), key=lambda miner: miner[1]))
        ends = list(in_order.values())
        if not ends or len(set(ends)) < len(ends) or ends[0] <= 0 or ends[-1] != 1:
            raise ValueError("the shares must rise from above 0 to 1.0, no two alike")
        return in_order

    @model_validator(mode="after")
    def _global_mining_has_negatives(self) -> "Train":
        if "global" in self.miners and 0 in (
            self.negatives_per_batch,
            self.global_nearest + self.global_random,
        ):
            raise ValueError(
                "the miner global needs negatives_per_batch, and global_nearest or global_random,"
                " above 0"
            )
        return self


class Verify(Section):
    """The pair verifier, and thresholds measured on validation people."""

    faces: int = Field(1000, ge=10, description="maximum number of training faces to fit on")
    pairs: int = Field(40000, ge=100, description="training pairs, half of them genuine")
    hard_negative_share: float = Field(
        0.25, ge=0, le=1, description="share of impostor training pairs that are hard negatives"
    )
    loss: Literal["cross_entropy", "mean_squared_error"] = Field(
        "cross_entropy", description="loss of the linear layer"
    )
    l2: float = Field(
        1.0, gt=0, description="L2 penalty that pulls the weights towards the plain distance"
    )
    sign_constraints: bool = Field(
        True, description="no positive weight: a larger difference never raises the score"
    )
    calibration: Literal["auto", "platt", "isotonic", "temperature"] = Field(
        "auto", description="auto: the lowest log loss in cross-validation over validation people"
    )
    far_budgets: list[float] = Field(
        [0.01, 0.001, 0.0001], description="false accept rates of pairs to find thresholds for"
    )
    fpir_budgets: list[float] = Field(
        [0.1, 0.01, 0.001],
        description="false positive identification rates to find thresholds for",
    )
    gallery_sizes: list[int] = Field(
        [50, 200, 1000, 5000], description="gallery sizes, in faces, of the threshold tables"
    )
    default_budget: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="the release's default FPIR; needs 3 / default_budget validation people",
    )
    runner_up_margin: float = Field(
        1.0, ge=0, description="minimum lead of the best person over the runner-up, log odds"
    )
    seed: int = Field(7, ge=0, description="seed of the pairs")


class Export(Section):
    """The ONNX bundle."""

    opset: int = Field(18, ge=17, le=21, description="ONNX opset, asserted on the written file")
    parity_crops: int = Field(
        64, ge=1, description="real crops on which torch and ONNX Runtime are compared"
    )
    max_difference: float = Field(
        1e-4, gt=0, description="maximum absolute difference of an embedding value"
    )


class Quantise(Section):
    """The int8 embedder, offered if it loses little."""

    calibration_crops: int = Field(
        128, ge=8, description="maximum number of training crops that calibrate the ranges"
    )
    float_layers: int = Field(2, ge=0, description="first convolutions that stay float32")
    far: float = Field(0.001, gt=0, lt=1, description="false accept rate at which TAR is compared")
    max_tar_loss: float = Field(
        0.002, ge=0, le=1, description="offered if TAR on validation people falls by less"
    )


class Evaluate(Section):
    """Evaluation of the exported bundle on the test people."""

    pairs: int = Field(6000, ge=2, description="balanced pairs for verification accuracy")
    pair_draws: int = Field(10, ge=2, description="random draws of the pairs, for the spread")
    far: list[float] = Field([0.01, 0.001], description="false accept rates at which TAR is given")
    gallery_photos: int = Field(2, ge=1, description="photos enrolled per person")
    open_set_gallery_photos: list[int] = Field(
        [1, 2, 5], description="photos enrolled per person, one row of the open-set table each"
    )
    unknown_share: float = Field(
        0.5, gt=0, lt=1, description="share of test people who are not enrolled"
    )
    robustness_photos: int = Field(
        40, ge=0, description="test photos to degrade in eleven ways and identify (0 disables)"
    )
    slices: str = Field(
        "", description="CSV below data/ with attributes per person or photo; empty: none"
    )
    seed: int = Field(7, ge=0, description="seed of pairs and galleries")


class Gate(Section):
    """Comparison with the champion on the same photos, which a release must pass to replace it."""

    data: str = Field("data", description="folder of labelled photos to compare on")
    photos_sha256: str = Field("", description="expected sha256 of the photos; empty accepts any")
    slices: str = Field("", description="CSV of groups; empty: by brightness and sharpness")
    far: float = Field(0.001, gt=0, lt=1, description="false accept rate at which TAR is compared")
    fpir: float = Field(
        0.01, gt=0, lt=1, description="false positive identification rate at which DIR is compared"
    )
    gallery_photos: int = Field(2, ge=1, description="photos enrolled per person")
    unknown_share: float = Field(
        0.5, gt=0, lt=1, description="share of people who are not enrolled"
    )
    max_dir_loss: float = Field(
        0.01, ge=0, le=1, description="largest loss of DIR that the confidence interval may include"
    )
    max_tar_loss: float = Field(0.01, ge=0, le=1, description="the same for TAR")
    max_named_loss: float = Field(
        0.03,
        ge=0,
        le=1,
        description="the same for enrolled people identified at each release's own thresholds",
    )
    max_slice_loss: float = Field(
        0.03, ge=0, le=1, description="the same for DIR of the worst group"
    )
    min_slice_people: int = Field(10, ge=2, description="smaller groups are not compared")
    max_latency_ratio: float = Field(
        1.25, gt=0, description="maximum time per photo relative to the champion's"
    )
    max_size_ratio: float = Field(
        1.5, gt=0, description="maximum size of the model files relative to the champion's"
    )
    min_people: int = Field(
        20, ge=4, description="minimum number of people whom neither release was trained on"
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="level of the paired confidence intervals"
    )
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the people")
    seed: int = Field(7, ge=0, description="seed of galleries and resamples")


class Params(Section):
    """All of params.yaml."""

    validate_: Validate = Field(Validate(), alias="validate")
    crop: Crop = Crop()
    split: Split = Split()
    train: Train = Train()
    verify: Verify = Verify()
    export: Export = Export()
    quantise: Quantise = Quantise()
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
