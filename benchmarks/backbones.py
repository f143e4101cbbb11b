"""Parameters, work and speed of the backbones, beside resnet18.

Usage: python benchmarks/backbones.py [NAME ...] [--input-size 112] [--colour rgb] [--batch 64]
    [--threads 2] [--embedding-size 128] [--repeats 7] [--cpu-time]

Multiply-adds are those of convolutions and matrix products for one face, the input stage among
them. A training step is forward, backward and AdamW on one resident batch, float32, channels
last; inference is in evaluation mode. resnet18 at the same input runs in turn with each network
within a repeat, so that what else the machine does meets both alike: figures are medians over the
repeats, and the ratio is the median of each repeat's. With --cpu-time and one thread, seconds are
of the processor that the steps used: what a free machine would take, measured on a busy one.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.build import BACKBONES, STARTED, build_backbone
from faceops.embedding.embedder import Embedder

BASE = "resnet18"
# These two have one form only, so they are measured when they are named.
USUAL = [name for name in BACKBONES if name not in STARTED]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join(BACKBONES)} [all but pretrained and descriptors]"
    )
    parser.add_argument("--input-size", type=int, default=112, help="pixels the network sees")
    parser.add_argument("--colour", choices=("rgb", "grey"), default="rgb")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--embedding-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each [7]")
    parser.add_argument("--cpu-time", action="store_true", help="count processor seconds")
    args = parser.parse_args()
    if args.cpu_time and args.threads != 1:
        parser.error("--cpu-time needs --threads 1: threads use seconds while they wait")
    torch.set_num_threads(args.threads)
    print(
        f"{platform.machine()}, torch {torch.__version__}, {args.threads} threads, batch"
        f" {args.batch}, {args.input_size} px {args.colour}, {args.embedding_size}-d"
        f"{', processor time' if args.cpu_time else ''}\n"
    )
    print(
        "| backbone | parameters, M | multiply-adds, M | training images/s | to resnet18"
        " | inference images/s | to resnet18 |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    torch.manual_seed(0)
    pixels = torch.rand(args.batch, 3, 112, 112).mul(255)
    pixels = pixels.contiguous(memory_format=torch.channels_last)

    def build(name: str) -> Embedder:
        try:
            model = build_backbone(name, args.embedding_size, args.input_size, args.colour)
        except FaceOpsError as error:
            parser.exit(2, f"{error}\n")
        return model.to(memory_format=torch.channels_last)

    for name in args.names or USUAL:
        model, base = build(name), build(BASE)
        training = beside(training_step(model, pixels), training_step(base, pixels), args)
        inference = beside(inference_step(model, pixels), inference_step(base, pixels), args)
        parameters = sum(value.numel() for value in model.parameters())
        print(
            f"| {name} | {parameters / 1e6:.2f} | {multiply_adds(model) / 1e6:.0f}"
            f" | {training[0]:.1f} | {training[1]:.2f} | {inference[0]:.1f} | {inference[1]:.2f} |",
            flush=True,
        )


def multiply_adds(model: Embedder) -> float:
    """Return the multiply-adds of `model` for one face."""
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        model.eval()(torch.zeros(1, 3, 112, 112))
    return counter.get_total_flops() / 2


def training_step(model: Embedder, pixels: torch.Tensor) -> Callable[[], None]:
    """Return one step of training; the loss pulls half of the faces to the other half."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        model.train()
        first, second = model(pixels).chunk(2)
        optimiser.zero_grad()
        (first - second).pow(2).sum(dim=1).mean().backward()
        optimiser.step()

    return step


def inference_step(model: Embedder, pixels: torch.Tensor) -> Callable[[], None]:
    """Return one batch of inference."""

    def step() -> None:
        model.eval()
        with torch.inference_mode():
            model(pixels)

    return step


def beside(
    step: Callable[[], None], base: Callable[[], None], args: argparse.Namespace
) -> tuple[float, float]:
    """Return the images/s of `step`, and how many times as fast as `base` it is."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    seconds: list[tuple[float, float]] = []
    for _ in range(args.repeats + 1):  # the first is not counted
        marks = [clock()]
        for one in (step, base):
            one()
            marks.append(clock())
        seconds.append((marks[1] - marks[0], marks[2] - marks[1]))
    counted = seconds[1:]
    speed = args.batch / statistics.median(taken for taken, _ in counted)
    return speed, statistics.median(other / taken for taken, other in counted)


if __name__ == "__main__":
    main()
