"""Networks with BatchNorm statistics of their own, as training leaves them."""

import torch
from torch import Tensor, nn

from fusionseg.models.stream import Architecture, Stream


def trained(name: str, decoder: str, output_stride: int) -> Stream:
    """Return a stream whose BatchNorms have something to say."""
    torch.manual_seed(0)
    stream = Stream(Architecture(name, decoder, output_stride)).eval()
    for norm in stream.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return stream


def scores(stream: Stream, size: tuple[int, int]) -> Tensor:
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found: Tensor = stream(stream.prepare(images))
    return found
