"""The sections of params.yaml, a frozen pydantic model each: one per stage, and the gate's.

The defaults are the demo's configuration, except for what makes the demo shorter.
`experiments/*.yaml` override single keys.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


def param(default: Any, description: str, **bounds: Any) -> Any:
    """Return a field; params.yaml has its description as a comment. Bounds as in `Field`."""
    return Field(default, description=description, **bounds)


class Section(BaseModel):
    """Base of all sections: immutable; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# Checks of the photos; a failed one stops the pipeline if `validate.hard` lists it, else it warns.
Expectation = Literal[
    "manifest_complete",  # every photo has one row: accepted, or rejected with a reason
    "readable",  # every file is a photo that can be opened
    "format_allowed",  # every photo has one of `formats`
    "size_allowed",  # every photo is within min_side, max_megapixels and max_megabytes
    "names_well_formed",  # every photo is in a folder with a person's name
    "one_person_a_photo",  # no photo or near duplicate is under two people
    "no_duplicates",  # no photo is under one person twice
    "rejected_share",  # at most max_rejected_share of the photos are rejected
    "people_enough",  # at least six people have min_photos: two per split
    "photos_enough",  # every person has min_photos; the others are used as negatives only
    "split_disjoint",  # no person and no photo is in two splits (stage split)
    "singles_negative_only",  # exactly people below min_photos are negatives only (stage split)
]


class Validate(Section):
    """Checks of the photos and of their labels, which are the names of their folders."""

    formats: list[str] = param(["JPEG", "PNG", "WEBP"], "accepted image formats")
    min_side: int = param(48, "minimum width and height of a photo, pixels", ge=1)
    max_megapixels: float = param(100.0, "larger photos are not decoded", gt=0)
    max_megabytes: float = param(50.0, "larger files are not opened", gt=0)
    min_photos: int = param(2, "people with fewer photos are used as negatives only", ge=1)
    near_duplicate_bits: int = param(
        0,
        "Hamming distance up to which perceptual hashes are duplicates (-1 disables)",
        ge=-1,
        le=8,
    )
    max_rejected_share: float = param(0.05, "maximum share of photos that are rejected", ge=0, le=1)
    hard: list[Expectation] = param(
        [
            "manifest_complete",
            "people_enough",
            "rejected_share",
            "split_disjoint",
            "singles_negative_only",
        ],
        "checks whose failure stops the pipeline; the others only warn",
    )


class Crop(Section):
    """Face detection and alignment: one 112 x 112 crop per photo."""

    mode: Literal["aligned", "box", "center"] = param(
        "aligned", "aligned: by landmarks; box: face box with margin; center: no detection"
    )
    detector_size: int = param(640, "longest side of the detector's input, pixels", ge=64)
    detector_threshold: float = param(0.6, "minimum detector score", gt=0, lt=1)
    several_faces: Literal["largest", "most_central", "skip"] = param(
        "most_central", "which face to use if a photo has several; skip rejects it"
    )
    min_face: int = param(24, "minimum side of a face box, pixels", ge=8)
    min_quality: float = param(0.0, "minimum quality score of a face", ge=0, le=1)
    box_margin: float = param(0.2, "mode box: margin as a share of the box side", ge=0, le=1)
    center_ratio: float = param(
        0.5, "mode center: crop side as a share of the photo's (LFW 0.5, Pins 0.7)", gt=0, le=1
    )


class Split(Section):
    """Assignment of people to training, validation and test; the three are disjoint."""

    by: Literal["random", "lfw"] = param(
        "random", "random, or lfw: the official DevTrain and DevTest lists"
    )
    train: float = param(0.23, "share of people (by lfw: of those in neither list)", gt=0, lt=1)
    val: float = param(
        0.62, "share of people (by lfw: not of DevTest); they calibrate the thresholds", gt=0, lt=1
    )
    test: float = param(0.15, "share of people (by lfw: of those in neither list)", gt=0, lt=1)
    seed: int = param(7, "seed of the random split", ge=0)

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train + val + test must be 1")
        return self


class Train(Section):
    """Training of the embedding: a classification warm-up, then mined triplets.

    The names of backbones, heads and miners are checked by
    `faceops.embedding.backbones.build.check_train_params`, against their registries.
    """

    backbone: str = param(
        "pretrained", "a name in embedding/backbones; pretrained starts from SFace"
    )
    start: str = param(
        "", "folder of a trained model (model.safetensors, model.json) to start from; '': none"
    )
    embedding_size: int = param(128, "dimensions (pretrained: 128)", ge=8)
    input_size: int = param(
        112, "side of the network's input, pixels (pretrained: 112)", ge=32, le=224
    )
    colour: Literal["rgb", "grey"] = param(
        "rgb", "channels of the network's input (pretrained: rgb)"
    )
    freeze: bool = param(True, "pretrained: train the last layers only, on cached features")
    frozen_units: int = param(
        0, "first units of the network whose weights stay; unused with freeze (SFace has 25)", ge=0
    )
    people_per_batch: int = param(24, "P of a batch of P people x K photos", ge=2)
    photos_per_person: int = param(4, "K of a batch of P people x K photos", ge=2)
    negatives_per_batch: int = param(
        8,
        "photos of people below validate.min_photos in a batch; miner global: of the"
        " negatives that it finds (about P x K)",
        ge=0,
    )
    warmup_epochs: int = param(2, "epochs of the warm-up", ge=0)
    warmup_loss: Literal["classification", "distillation"] = param(
        "classification",
        "distillation: the augmented crop gets the embedding that the start gives to the crop as"
        " it is; needs freeze: false",
    )
    warmup_sampler: Literal[
        "balanced", "square_root", "square_root_all", "uniform", "uniform_all"
    ] = param(
        "balanced",
        "balanced: P x K; square_root: P x K, people drawn by the root of their photos; uniform:"
        " each photo once per epoch; the two with _all also draw people below validate.min_photos,"
        " square_root_all negatives_per_batch of their photos",
    )
    triplet_epochs: int = param(2, "epochs of mined triplets after the warm-up", ge=0)
    head: str = param("cosface", "classification head, a name in embedding/losses")
    head_scale: float = param(32.0, "scale s of the head's logits", gt=0)
    head_margin: float = param(
        0.35, "cosface: cosine margin; arcface: radians; softmax: ignored", ge=0, lt=1.5
    )
    head_loss_weight: float = param(
        0.0, "weight of the classification loss in the triplet epochs (0 disables)", ge=0
    )
    contrastive_weight: float = param(
        0.0,
        "weight of the supervised contrastive loss over each batch, beside the other losses of"
        " both phases (0 disables)",
        ge=0,
    )
    contrastive_temperature: float = param(
        0.15, "temperature of the contrastive loss: what its cosines are divided by", gt=0
    )
    miners: dict[str, float] = param(
        {"semi_hard": 1.0},
        "each miner with the share of the triplet epochs at which it ends, such as"
        " {semi_hard: 0.4, batch_hard: 1.0}",
    )
    global_skip: int = param(
        2, "miner global: nearest other people skipped, per face (twins, label errors)", ge=0
    )
    global_nearest: int = param(10, "miner global: hard negatives after those, per face", ge=0)
    global_random: int = param(2, "miner global: random negatives, per face", ge=0)
    triplet_margin: float = param(
        0.8, "margin of the triplet loss, squared L2 distance", gt=0, lt=4
    )
    learning_rate: float = param(0.0002, "peak learning rate of the cosine schedule (AdamW)", gt=0)
    weight_decay: float = param(0.0005, "decoupled weight decay (AdamW)", ge=0)
    grad_clip_norm: float = param(5.0, "maximum L2 norm of the gradients", gt=0)
    ema_decay: float = param(
        0.0, "decay of the exponential moving average of the weights (0 disables)", ge=0, lt=1
    )
    start_share: float = param(0.0, "share of the start in the weights kept (0: none)", ge=0, lt=1)
    flip: bool = param(False, "mirror half of the crops")
    jitter: float = param(
        0.2, "strength of shift and scale; unused with freeze, as are the next eleven", ge=0, le=1
    )
    brightness: float = param(0.2, "strength of brightness and contrast", ge=0, le=1)
    blur: float = param(0.0, "strength of Gaussian blur (1: sigma up to 3 pixels)", ge=0, le=1)
    jpeg: float = param(0.0, "strength of JPEG artefacts (1: quality down to 20)", ge=0, le=1)
    erase: float = param(0.0, "share of crops with a random patch erased", ge=0, le=1)
    occlude: float = param(
        0.0, "share of crops with the lower face covered (masks, hands)", ge=0, le=1
    )
    cover: float = param(
        0.0, "share of crops with the eyes or another place covered in one colour", ge=0, le=1
    )
    exposure: float = param(
        0.0, "strength of exposure and gamma (1: 2.5 stops either way)", ge=0, le=1
    )
    resolution: float = param(
        0.0, "strength of lowered resolution (1: down to 20 of 112 pixels)", ge=0, le=1
    )
    noise: float = param(
        0.0, "strength of noise (1: standard deviation up to 30 of 255)", ge=0, le=1
    )
    grey: float = param(0.0, "share of crops without colour", ge=0, le=1)
    unaltered: float = param(0.0, "share of crops that none of these changes", ge=0, le=1)
    precision: Literal["float32", "bfloat16"] = param(
        "float32", "autocast type of the forward pass"
    )
    compile: bool = param(False, "compile the network (torch.compile)")
    device: Literal["auto", "cpu", "cuda"] = param("auto", "auto: the GPU if there is one")
    processes: int = param(1, "data-parallel processes (torchrun)", ge=1)
    patience: int = param(
        4, "epochs without improvement before a phase ends (early stopping)", ge=1
    )
    min_delta: float = param(
        0.001, "minimum rise of the validation score that is an improvement", ge=0
    )
    max_minutes: float = param(0.0, "wall time limit (0 disables)", ge=0)
    checkpoint_minutes: float = param(
        5.0, "minutes between checkpoints; each epoch also ends with one", gt=0
    )
    seed: int = param(7, "seed of weights, batches and augmentation", ge=0)

    @field_validator("miners")
    @classmethod
    def _miners_in_order(cls, miners: dict[str, float]) -> dict[str, float]:
        # A program that wrote the file may have sorted the keys.
        in_order = dict(sorted(miners.items(), key=lambda miner: miner[1]))
        ends = list(in_order.values())
        if not ends or len(set(ends)) < len(ends) or ends[0] <= 0 or ends[-1] != 1:
            raise ValueError("the shares must rise strictly from above 0 to 1.0")
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
        if self.warmup_sampler == "square_root_all" and not self.negatives_per_batch:
            raise ValueError("warmup_sampler: square_root_all needs negatives_per_batch above 0")
        return self


class Verify(Section):
    """The pair verifier, and thresholds measured on validation people."""

    faces: int = param(1000, "maximum number of training faces to fit on", ge=10)
    pairs: int = param(40000, "training pairs, half of them genuine", ge=100)
    hard_negative_share: float = param(
        0.25, "share of impostor training pairs that are hard negatives", ge=0, le=1
    )
    loss: Literal["cross_entropy", "mean_squared_error"] = param(
        "cross_entropy", "loss of the linear layer"
    )
    l2: float = param(1.0, "L2 penalty that pulls the weights towards the plain distance", gt=0)
    sign_constraints: bool = param(
        True, "no positive weight: a larger difference never raises the score"
    )
    calibration: Literal["auto", "platt", "isotonic", "temperature"] = param(
        "auto", "auto: the lowest log loss in cross-validation over validation people"
    )
    far_budgets: list[float] = param(
        [0.01, 0.001, 0.0001], "false accept rates of pairs to find thresholds for"
    )
    fpir_budgets: list[float] = param(
        [0.1, 0.01, 0.001], "false positive identification rates to find thresholds for"
    )
    gallery_sizes: list[int] = param(
        [50, 200, 1000, 5000], "gallery sizes, in faces, of the threshold tables"
    )
    default_budget: float = param(
        0.01, "the release's default FPIR; needs 3 / default_budget validation people", gt=0, lt=1
    )
    runner_up_margin: float = param(
        1.0, "minimum lead of the best person over the runner-up, log odds", ge=0
    )
    seed: int = param(7, "seed of the pairs", ge=0)


class Export(Section):
    """The ONNX bundle."""

    opset: int = param(18, "ONNX opset, asserted on the written file", ge=17, le=21)
    parity_crops: int = param(64, "real crops on which torch and ONNX Runtime are compared", ge=1)
    max_difference: float = param(1e-4, "maximum absolute difference of an embedding value", gt=0)
    mirrored: bool = param(
        True,
        "average the trained network's embedding of a crop with that of its mirror image, in"
        " twice the time",
    )
    centred: bool = param(
        True, "subtract the mean embedding of training and validation people from each embedding"
    )
    dlib_share: float = param(
        0.3, "share of dlib's ResNet in the score of two faces; 0: the trained network alone",
        ge=0, lt=1,
    )  # fmt: skip


class Quantise(Section):
    """The int8 embedder, offered if its loss of accuracy is small."""

    calibration_crops: int = param(
        128, "maximum number of training crops that calibrate the ranges", ge=8
    )
    float_layers: int = param(2, "first convolutions that stay float32", ge=0)
    far: float = param(0.001, "false accept rate at which TAR is compared", gt=0, lt=1)
    max_tar_loss: float = param(
        0.002, "offered if TAR on validation people falls by less", ge=0, le=1
    )


class Evaluate(Section):
    """Evaluation of the exported bundle on the test people."""

    pairs: int = param(6000, "balanced pairs for verification accuracy", ge=2)
    pair_draws: int = param(10, "random draws of the pairs, for the spread", ge=2)
    far: list[float] = param([0.01, 0.001], "false accept rates at which TAR is given")
    gallery_photos: int = param(2, "photos enrolled per person", ge=1)
    open_set_gallery_photos: list[int] = param(
        [1, 2, 5], "photos enrolled per person, one row of the open-set table each"
    )
    unknown_share: float = param(0.5, "share of test people who are not enrolled", gt=0, lt=1)
    robustness_photos: int = param(
        40, "test photos to degrade in eleven ways and identify (0 disables)", ge=0
    )
    slices: str = param("", "CSV below data/ with attributes per person or photo; empty: none")
    seed: int = param(7, "seed of pairs and galleries", ge=0)


class Gate(Section):
    """Comparison with the champion on the same photos, which a release must pass to replace it."""

    data: str = param("data", "folder, or URL in a store, of labelled photos to compare on")
    photos_sha256: str = param("", "expected sha256 of the photos; empty accepts any")
    slices: str = param("", "CSV of groups; empty: by brightness and sharpness")
    far: float = param(0.001, "false accept rate at which TAR is compared", gt=0, lt=1)
    fpir: float = param(
        0.01, "false positive identification rate at which DIR is compared", gt=0, lt=1
    )
    gallery_photos: int = param(2, "photos enrolled per person", ge=1)
    unknown_share: float = param(0.5, "share of people who are not enrolled", gt=0, lt=1)
    max_dir_loss: float = param(
        0.01, "largest loss of DIR that the confidence interval may include", ge=0, le=1
    )
    max_tar_loss: float = param(0.01, "the same for TAR", ge=0, le=1)
    max_named_loss: float = param(
        0.03, "the same for enrolled people identified at each release's own thresholds", ge=0, le=1
    )
    max_slice_loss: float = param(0.03, "the same for DIR of the worst group", ge=0, le=1)
    min_slice_people: int = param(10, "smaller groups are not compared", ge=2)
    max_latency_ratio: float = param(
        1.25, "maximum time per photo relative to the champion's", gt=0
    )
    max_size_ratio: float = param(
        1.5, "maximum size of the model files relative to the champion's", gt=0
    )
    min_people: int = param(
        20, "minimum number of people that neither release was trained on", ge=4
    )
    confidence: float = param(0.95, "level of the paired confidence intervals", gt=0.5, lt=1)
    resamples: int = param(1000, "bootstrap resamples of the people", ge=100)
    seed: int = param(7, "seed of galleries and resamples", ge=0)


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
