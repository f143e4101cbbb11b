"""What params.yaml may hold: one frozen model a section, a section a stage.

The defaults are the demo's configuration; `experiments/*.yaml` override single keys.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# What is expected of the photos; each can be hard (its failure stops the pipeline) or soft.
Expectation = Literal[
    "manifest_complete",  # every photo has one row: accepted, or rejected with a reason
    "readable",  # every file is a photo that can be opened
    "format_allowed",  # every photo has one of `formats`
    "size_allowed",  # every photo is within min_side, max_megapixels and max_megabytes
    "names_well_formed",  # every photo lies in a folder with a person's name
    "one_person_a_photo",  # no photo, nor a perceptual twin, lies under two people
    "no_duplicates",  # no photo lies twice under one person
    "rejected_share",  # at most max_rejected_share of the photos are set aside
    "people_enough",  # at least six people have min_photos: two each to train, validate, test
    "photos_enough",  # every person has min_photos; those who have not serve as negatives only
    "split_disjoint",  # no person and no photo is in two splits (stage split)
    "singles_negative_only",  # exactly people with < min_photos are negatives only (stage split)
]


class Validate(Section):
    """Expectations on the photos, as labelled by their folders."""

    formats: list[str] = Field(["JPEG", "PNG", "WEBP"], description="image formats to accept")
    min_side: int = Field(48, ge=1, description="smallest width or height of a photo, pixels")
    max_megapixels: float = Field(100.0, gt=0, description="larger photos are not decoded")
    max_megabytes: float = Field(50.0, gt=0, description="larger files are not opened")
    min_photos: int = Field(2, ge=1, description="people with fewer serve as negatives only")
    near_duplicate_bits: int = Field(
        0, ge=-1, le=8, description="perceptual hashes this close are one photo (-1: do not look)"
    )
    max_rejected_share: float = Field(0.05, ge=0, le=1, description="share of photos set aside")
    hard: list[Expectation] = Field(
        [
            "manifest_complete",
            "people_enough",
            "rejected_share",
            "split_disjoint",
            "singles_negative_only",
        ],
        description="expectations whose failure stops the pipeline; the others warn",
    )


class Crop(Section):
    """From photo to aligned face."""

    mode: Literal["aligned", "box", "center"] = Field(
        "aligned", description="aligned by landmarks, box with margin, or center of the photo"
    )
    detector_size: int = Field(640, ge=64, description="longest side for the detector, pixels")
    detector_threshold: float = Field(0.6, gt=0, lt=1, description="smallest detector score")
    several_faces: Literal["largest", "most_central", "skip"] = Field(
        "most_central", description="which face of a photo that has several"
    )
    min_face: int = Field(24, ge=8, description="smallest side of a face box, pixels")
    min_quality: float = Field(0.0, ge=0, le=1, description="lowest quality figure of a face")
    box_margin: float = Field(0.2, ge=0, le=1, description="mode box: margin, share of the box")
    center_ratio: float = Field(
        0.5, gt=0, le=1, description="mode center: share of the side (LFW .5, Pins .7, none 1.0)"
    )


class Split(Section):
    """Which people train, validate and test; nobody is in two of them."""

    by: Literal["random", "lfw"] = Field(
        "random", description="random people, or LFW's official DevTrain/DevTest lists"
    )
    train: float = Field(0.23, gt=0, lt=1, description="share of people (by random)")
    val: float = Field(
        0.62, gt=0, lt=1, description="share of people, who calibrate; of DevTrain's with lfw"
    )
    test: float = Field(0.15, gt=0, lt=1, description="share of people (by random)")
    seed: int = Field(7, ge=0, description="seed of the draw")

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train + val + test must be 1")
        return self


Backbone = Literal[
    "pretrained", "facenet_nn2", "inception_resnet_v1", "resnet18", "resnet50",
    "resnext50_32x4d", "mobilefacenet", "descriptors",
]  # fmt: skip
Miner = Literal["random", "semi_hard", "batch_hard", "batch_all", "global"]


class Train(Section):
    """Classification warm-up, then mined triplets on L2-normalised embeddings."""

    backbone: Backbone = Field("pretrained", description="pretrained: SFace as the start")
    embedding_size: int = Field(
        128, ge=8, description="dimensions; pretrained: 128; descriptors: a multiple of 48"
    )
    input_size: int = Field(
        112,
        ge=32,
        le=224,
        description="pixels a side that the network sees; pretrained, descriptors: 112",
    )
    colour: Literal["rgb", "grey"] = Field("rgb", description="pretrained: rgb; descriptors: grey")
    freeze: bool = Field(
        True, description="pretrained, descriptors: train the last layers on cached features"
    )
    people_per_batch: int = Field(24, ge=2, description="P of P people x K photos")
    photos_per_person: int = Field(4, ge=2, description="K of P people x K photos")
    negatives_per_batch: int = Field(
        8,
        ge=0,
        description="of people with one photo; with the miner global, found by it: about P x K",
    )
    warmup_epochs: int = Field(2, ge=0, description="epochs of classification")
    warmup_draws: Literal["people", "photos", "all_photos"] = Field(
        "people",
        description="P x K; photos: each once an epoch; all_photos: of people with one too",
    )
    triplet_epochs: int = Field(2, ge=0, description="epochs of mined triplets after it")
    classifier: Literal["cosface", "arcface", "softmax"] = Field(
        "cosface", description="classification head of the warm-up"
    )
    classifier_scale: float = Field(32.0, gt=0, description="by which cosines are multiplied")
    classifier_margin: float = Field(
        0.35, ge=0, lt=1.5, description="cosface: of the cosine; arcface: radians; softmax: none"
    )
    classifier_weight: float = Field(
        0.0, ge=0, description="of the classification loss beside the triplets, after the warm-up"
    )
    miners: dict[Miner, float] = Field(
        {"semi_hard": 1.0},
        description="each up to that share of the triplet epochs (semi_hard: 0.4, batch_hard: 1.0)",
    )
    global_skip: int = Field(
        2, ge=0, description="global mining: nearest strangers left out (twins, wrong labels)"
    )
    global_nearest: int = Field(10, ge=0, description="global mining: nearest after these, a face")
    global_random: int = Field(2, ge=0, description="global mining: random strangers, a face")
    triplet_margin: float = Field(0.8, gt=0, lt=4, description="margin on squared L2 distance")
    learning_rate: float = Field(0.0002, gt=0, description="peak of the cosine schedule (AdamW)")
    weight_decay: float = Field(0.0005, ge=0, description="decoupled weight decay")
    largest_gradient: float = Field(
        5.0, gt=0, description="the network's gradients are clipped to this norm"
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="validate and keep a moving average of the weights (0: no)"
    )
    flip: bool = Field(False, description="mirror half of the crops; descriptors see no difference")
    jitter: float = Field(
        0.2, ge=0, le=1, description="shift and scale; like the next five not with freeze"
    )
    brightness: float = Field(0.2, ge=0, le=1, description="brightness and contrast")
    blur: float = Field(0.0, ge=0, le=1, description="1: sigma of up to 3 pixels")
    jpeg: float = Field(0.0, ge=0, le=1, description="1: qualities down to 20")
    erase: float = Field(0.0, ge=0, le=1, description="share of crops with a random patch erased")
    occlude: float = Field(
        0.0, ge=0, le=1, description="share of crops with the lower face covered (masks, hands)"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="autocast type of the forward pass"
    )
    compile: bool = Field(False, description="compile the network (torch.compile)")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU when there is one"
    )
    processes: int = Field(1, ge=1, description="processes that share each batch (torchrun)")
    patience: int = Field(4, ge=1, description="epochs of a phase without gain before it ends")
    tolerance: float = Field(
        0.001, ge=0, description="smallest gain of the validation score that renews patience"
    )
    max_minutes: float = Field(0.0, ge=0, description="stop after this wall time (0: no limit)")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="between checkpoints within an epoch; each epoch ends with one"
    )
    seed: int = Field(7, ge=0, description="seed of weights, order and augmentation")

    @field_validator("miners")
    @classmethod
    def _miners_follow_each_other(cls, miners: dict[Miner, float]) -> dict[Miner, float]:
        # Whatever wrote the file may have sorted the keys.
        follow = dict(sorted(miners.items(), key=lambda miner: miner[1]))
        ends = list(follow.values())
        if not ends or len(set(ends)) < len(ends) or ends[0] <= 0 or ends[-1] != 1:
            raise ValueError("the shares must rise from above 0 to 1.0, no two alike")
        return follow

    @model_validator(mode="after")
    def _fixed_inputs_are_what_they_are(self) -> "Train":
        made = (self.embedding_size, self.input_size, self.colour)
        if self.backbone == "pretrained" and made != (128, 112, "rgb"):
            raise ValueError("pretrained has embedding_size 128, input_size 112 and colour rgb")
        if self.backbone == "descriptors" and (
            self.embedding_size % 48 or made[1:] != (112, "grey")
        ):
            raise ValueError(
                "descriptors has an embedding_size that 48 divides, input_size 112 and colour grey"
            )
        return self

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
    """The pair verifier and its thresholds, measured on validation people."""

    faces: int = Field(1000, ge=10, description="faces of training people to fit it on, at most")
    pairs: int = Field(40000, ge=100, description="training pairs, half of one person")
    hard_share: float = Field(
        0.25, ge=0, le=1, description="share of training pairs of two people who look alike"
    )
    loss: Literal["cross_entropy", "mean_squared_error"] = Field(
        "cross_entropy", description="what the linear layer is fitted by"
    )
    l2: float = Field(1.0, gt=0, description="pull of the weights towards the plain distance")
    sign_constraints: bool = Field(
        True, description="no weight above 0, no bias below 0: difference never speaks for likeness"
    )
    calibration: Literal["auto", "platt", "isotonic", "temperature"] = Field(
        "auto", description="auto: what foretells held-out validation people best (log-loss)"
    )
    far_budgets: list[float] = Field(
        [0.01, 0.001, 0.0001], description="false accept rates per pair to find thresholds for"
    )
    search_budgets: list[float] = Field(
        [0.1, 0.01, 0.001], description="shares of strangers named to find thresholds for"
    )
    gallery_sizes: list[int] = Field(
        [50, 200, 1000, 5000], description="faces in the galleries that the tables state"
    )
    budget: float = Field(
        0.01, gt=0, lt=1, description="default share; takes 3 / budget validation people"
    )
    runner_up_margin: float = Field(
        1.0, ge=0, description="log odds by which the best must beat the runner-up"
    )
    seed: int = Field(7, ge=0, description="seed of the pairs")


class Export(Section):
    """The ONNX bundle."""

    opset: int = Field(18, ge=17, le=21, description="ONNX opset, asserted on the written file")
    parity_crops: int = Field(64, ge=1, description="real crops on which torch and ONNX must agree")
    max_difference: float = Field(
        1e-4, gt=0, description="largest difference of an embedding value"
    )


class Quantise(Section):
    """The int8 embedder, offered where it is good enough."""

    crops: int = Field(128, ge=8, description="training crops to calibrate on, at most")
    float_layers: int = Field(2, ge=0, description="convolutions at the start that stay in float32")
    far: float = Field(0.001, gt=0, lt=1, description="false accept rate at which TAR is compared")
    tar_loss: float = Field(
        0.002, ge=0, le=1, description="offered where validation people's TAR falls by less"
    )


class Evaluate(Section):
    """Protocols on the exported bundle and the test people."""

    pairs: int = Field(6000, ge=2, description="balanced pairs for verification accuracy")
    draws: int = Field(10, ge=2, description="draws of so many random pairs, for their spread")
    far: list[float] = Field([0.01, 0.001], description="false accept rates at which TAR is given")
    gallery_photos: int = Field(2, ge=1, description="photos enrolled a person, identification")
    open_sets: list[int] = Field(
        [1, 2, 5], description="photos enrolled a person in the open-set table, one row each"
    )
    unknown_share: float = Field(0.5, gt=0, lt=1, description="share of test people not enrolled")
    robustness_photos: int = Field(
        40, ge=0, description="test photos to alter in eleven ways and to find again (0: none)"
    )
    slices: str = Field("", description="CSV of attributes a person or photo, below data/")
    seed: int = Field(7, ge=0, description="seed of pairs and galleries")


class Gate(Section):
    """What a release must show against the champion, on the same photos, to take its place."""

    data: str = Field("data", description="folder of labelled photos to compare on")
    photos_sha256: str = Field(
        "", description="what that folder must be; a verdict states it (empty: as it is)"
    )
    slices: str = Field("", description="CSV of groups; empty: dark to bright, blurred to sharp")
    far: float = Field(0.001, gt=0, lt=1, description="false accept rate of the TAR")
    fpir: float = Field(0.01, gt=0, lt=1, description="share of strangers named, of the DIR")
    gallery_photos: int = Field(2, ge=1, description="photos enrolled a person")
    unknown_share: float = Field(0.5, gt=0, lt=1, description="share of people not enrolled")
    dir_loss: float = Field(
        0.01, ge=0, le=1, description="largest loss of DIR that the interval may leave possible"
    )
    tar_loss: float = Field(0.01, ge=0, le=1, description="the same, of TAR")
    named_loss: float = Field(
        0.03, ge=0, le=1, description="the same, of known people named at its own thresholds"
    )
    slice_loss: float = Field(0.03, ge=0, le=1, description="the same, of the worst group's DIR")
    slice_people: int = Field(10, ge=2, description="groups of fewer people are not judged")
    latency_ratio: float = Field(1.25, gt=0, description="most time a photo, over the champion's")
    size_ratio: float = Field(1.5, gt=0, description="most bytes, over the champion's")
    min_people: int = Field(20, ge=4, description="people whom neither has seen, at least")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the paired intervals")
    repeats: int = Field(1000, ge=100, description="resamples of the people")
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
