"""How far the masks of our inference (`models/inference.py`: bfloat16 with sensitive layers exact)
are from those of the plain fp32 network: J between the two, on real frames of trained networks.

    python benchmarks/precision.py DATA --appearance A.safetensors [--motion M.safetensors --fusion F.safetensors]

DATA is DAVIS's folder (`JPEGImages/480p`). `--every 10`: every tenth frame of each sequence of `--sequences`.

Expected before measuring: 0.998 on average; the worst frames are those with tiny objects, where one pixel counts.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import fusionseg  # noqa: F401  sets how threads wait, as in the chain: must come before torch

# isort: split
import cv2
import numpy as np
import torch
from torch import Tensor

from fusionseg.models.fusion import AverageFusion, fuse
from fusionseg.models.inference import for_inference
from fusionseg.models.stream import Stream, to_frame
from fusionseg.pipeline.basics.resizing import fit, resize
from fusionseg.pipeline.flow.colours import colour
from fusionseg.pipeline.flow.estimation import estimate
from fusionseg.pipeline.networks.scores import as_tensor, object_mask
from fusionseg.pipeline.networks.trained import read_fusion, read_stream
from fusionseg.pipeline.scoring.measures import mask_scores

TEST = "bus,dance-jump,flamingo,mallard-fly,motorbike,soccerball"  # the `davis` profile's scored sequences


@dataclasses.dataclass
class Pair:
    """A stream in plain fp32, and as we run it."""

    plain: Stream
    ours: Stream

    def scores(self, picture: np.ndarray, long_side: int) -> tuple[Tensor, Tensor]:
        """Logits of (H, W, 3) uint8 RGB at its own size, by both."""
        size = (picture.shape[0], picture.shape[1])
        small = resize(picture, fit(size, long_side))
        images = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None]
        at = (small.shape[0], small.shape[1])
        plain = self.plain(self.plain.prepare(images))
        with torch.autocast("cpu", torch.bfloat16):
            # Stored as float16, as the chain does.
            ours = self.ours(self.ours.prepare(images).contiguous(memory_format=torch.channels_last)).half().float()
        first, second = (to_frame(z, self.plain.score_stride, at, size) for z in (plain, ours))
        return first, second


def pair_of(path: Path) -> Pair:
    stream, _ = read_stream(path, given=True)
    return Pair(stream, for_inference(stream, torch.device("cpu"), bf16=True))


def frames_of(root: Path, sequences: str, every: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, frame and the next one, (H, W, 3) BGR."""
    for name in sequences.split(","):
        paths = sorted((root / "JPEGImages/480p" / name).glob("*.jpg"))
        for index in range(0, len(paths) - 1, every):
            yield f"{name}/{paths[index].stem}", cv2.imread(str(paths[index])), cv2.imread(str(paths[index + 1]))


def agreement(first: Tensor, second: Tensor) -> float:
    return float(mask_scores(object_mask(first), object_mask(second)).J)


def compare(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """J between fp32 and ours, by network and frame."""
    found: dict[str, dict[str, float]] = {}
    appearance = pair_of(options.appearance)
    motion = pair_of(options.motion) if options.motion else None
    fusion = read_fusion(options.fusion, given=True)[0] if options.fusion else AverageFusion()
    with torch.inference_mode():
        for name, frame, following in frames_of(options.data, options.sequences, options.every):
            a = appearance.scores(np.ascontiguousarray(frame[..., ::-1]), options.long_side)
            found.setdefault("appearance", {})[name] = agreement(*a)
            if motion:
                m = motion.scores(colour(estimate(frame, following, method="dis-medium")), options.long_side)
                found.setdefault("motion", {})[name] = agreement(*m)
                seen = as_tensor(frame[..., ::-1])
                found.setdefault("fused", {})[name] = agreement(
                    *(fuse(fusion, *both, seen) for both in zip(a, m, strict=True))
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--appearance", type=Path, required=True)
    parser.add_argument("--motion", type=Path)
    parser.add_argument("--fusion", type=Path, help="without it, the average")
    parser.add_argument("--sequences", default=TEST)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--long-side", type=int, default=512)
    for name, values in compare(parser.parse_args()).items():
        worst = min(values, key=lambda frame: values[frame])
        numbers = np.array(list(values.values()))
        print(
            f"{name:10} {len(numbers)} frames: J between fp32 and ours {numbers.mean():.4f} on average, "
            f"{(numbers >= 0.995).mean():.0%} at least 0.995, median {np.median(numbers):.4f}, "
            f"worst {values[worst]:.4f} ({worst})"
        )


if __name__ == "__main__":
    main()
