"""RAFT written down from its paper, on a state dict in the original repository's names: what torchvision's networks are
compared with. One pair of frames, no padding, nothing shared with `fusionseg.models.raft` or torchvision."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]
Shape = tuple[int, ...]
LEVELS = 4


def flow(state: State, first: Tensor, second: Tensor, iterations: int) -> Tensor:
    """Flow (1, 2, H, W) of frames (1, 3, H, W) in -1..1 whose sides are multiples of 8."""
    large = "update_block.mask.0.weight" in state
    hidden_size, radius = (128, 4) if large else (96, 3)
    features = [encode(state, "fnet", frame, "instance", large) for frame in (first, second)]
    context = encode(state, "cnet", first, "batch" if large else "none", large)
    hidden, context = torch.tanh(context[:, :hidden_size]), F.relu(context[:, hidden_size:])
    pyramid = correlations(*features)
    coarse = torch.zeros(1, 2, *hidden.shape[-2:])
    for _ in range(iterations):
        found = look_up(pyramid, coarse, radius)
        motion = encode_motion(state, found, coarse, large)
        hidden = remember(state, hidden, torch.cat([context, motion], 1), large)
        step = F.relu(conv(state, "update_block.flow_head.conv1", hidden))
        coarse = coarse + conv(state, "update_block.flow_head.conv2", step)
    if large:
        return upsample(coarse, predict_mask(state, hidden))
    return 8 * F.interpolate(coarse, scale_factor=8, mode="bilinear", align_corners=True)


def conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], stride, (weight.shape[2] // 2, weight.shape[3] // 2))


def normalise(state: State, name: str, x: Tensor, kind: str) -> Tensor:
    if kind == "none":
        return x
    if kind == "instance":
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    mean, var, gain, bias = (
        state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gain + bias


def encode(state: State, net: str, x: Tensor, norm: str, large: bool) -> Tensor:
    """Residual blocks (raft-large: two 3x3; raft-small: 1x1, 3x3, 1x1), two each at 1/2, 1/4 and 1/8 of the size."""
    x = F.relu(normalise(state, f"{net}.norm1", conv(state, f"{net}.conv1", x, 2), norm))
    for layer in (1, 2, 3):
        for block in (0, 1):
            name = f"{net}.layer{layer}.{block}"
            halved = layer > 1 and block == 0
            y = x
            for n in (1, 2) if large else (1, 2, 3):
                stride = 2 if halved and n == (1 if large else 2) else 1
                y = F.relu(normalise(state, f"{name}.norm{n}", conv(state, f"{name}.conv{n}", y, stride), norm))
            if halved:
                x = normalise(state, f"{name}.norm3", conv(state, f"{name}.downsample.0", x, 2), norm)
            x = F.relu(x + y)
    return conv(state, f"{net}.conv2", x)


def correlations(first: Tensor, second: Tensor) -> list[Tensor]:
    """(H*W, 1, H/2^level, W/2^level) for each level: how alike each cell of `first` is to each of `second`."""
    channels, height, width = first.shape[1:]
    volume = first.reshape(channels, -1).T @ second.reshape(channels, -1) / channels**0.5
    levels = [volume.view(-1, 1, height, width)]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def look_up(pyramid: list[Tensor], coarse: Tensor, radius: int) -> Tensor:
    """(1, LEVELS*(2r+1)^2, H, W): the correlations around where the flow points; x changes slowest in a window."""
    height, width = coarse.shape[-2:]
    rows, columns = torch.arange(height).view(-1, 1).expand(height, width), torch.arange(width).expand(height, width)
    centre_x, centre_y = (columns + coarse[0, 0]).reshape(-1), (rows + coarse[0, 1]).reshape(-1)
    channels = []
    for level, volume in enumerate(pyramid):
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                x, y = centre_x / 2**level + dx, centre_y / 2**level + dy
                channels.append(bilinear(volume[:, 0], x, y).view(height, width))
    return torch.stack(channels)[None]


def bilinear(pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The value of each of (N, H, W) pictures at its own place x, y (N,); zero outside."""
    height, width = pictures.shape[-2:]
    left, top = x.floor(), y.floor()
    total = torch.zeros(len(x))
    for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            value = pictures[torch.arange(len(x)), row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            total += share_x * share_y * value * inside
    return total


def encode_motion(state: State, found: Tensor, coarse: Tensor, large: bool) -> Tensor:
    name = "update_block.encoder"
    found = F.relu(conv(state, f"{name}.convc1", found))
    if large:
        found = F.relu(conv(state, f"{name}.convc2", found))
    moved = F.relu(conv(state, f"{name}.convf2", F.relu(conv(state, f"{name}.convf1", coarse))))
    return torch.cat([F.relu(conv(state, f"{name}.conv", torch.cat([found, moved], 1))), coarse], 1)


def remember(state: State, hidden: Tensor, x: Tensor, large: bool) -> Tensor:
    """The GRU; in raft-large first along the rows, then along the columns."""
    for part in ("1", "2") if large else ("",):
        both = torch.cat([hidden, x], 1)
        update = torch.sigmoid(conv(state, f"update_block.gru.convz{part}", both))
        reset = torch.sigmoid(conv(state, f"update_block.gru.convr{part}", both))
        new = torch.tanh(conv(state, f"update_block.gru.convq{part}", torch.cat([reset * hidden, x], 1)))
        hidden = (1 - update) * hidden + update * new
    return hidden


def predict_mask(state: State, hidden: Tensor) -> Tensor:
    return 0.25 * conv(state, "update_block.mask.2", F.relu(conv(state, "update_block.mask.0", hidden)))


def upsample(coarse: Tensor, mask: Tensor) -> Tensor:
    """Each of the 8x8 pixels of a cell is a convex combination of the flow of the cell and its eight neighbours."""
    height, width = coarse.shape[-2:]
    shares = mask.view(9, 8, 8, height, width).softmax(0)
    padded = F.pad(8 * coarse[0], (1, 1, 1, 1))
    fine = torch.zeros(2, height, 8, width, 8)
    for neighbour in range(9):
        row, column = divmod(neighbour, 3)
        near = padded[:, row : row + height, column : column + width]
        fine += torch.einsum("cyx,ijyx->cyixj", near, shares[neighbour])
    return fine.reshape(1, 2, 8 * height, 8 * width)


def random_state(large: bool, seed: int = 0) -> dict[str, Tensor]:
    """Random weights in the original's names."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in (large_convolutions() if large else small_convolutions()).items():
        spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * spread
        state[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 10
    if large:
        for name, channels in context_norms().items():
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"{name}.{part}"] = torch.rand(channels, generator=generator) + 0.5
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


def encoder_convolutions(net: str, widths: Shape, out: int, bottleneck: bool) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{net}.conv1": (widths[0], 3, 7, 7)}
    before = widths[0]
    for layer, width in enumerate(widths, 1):
        for block in (0, 1):
            name = f"{net}.layer{layer}.{block}"
            if bottleneck:
                shapes[f"{name}.conv1"] = (width // 4, before, 1, 1)
                shapes[f"{name}.conv2"] = (width // 4, width // 4, 3, 3)
                shapes[f"{name}.conv3"] = (width, width // 4, 1, 1)
            else:
                shapes[f"{name}.conv1"] = (width, before, 3, 3)
                shapes[f"{name}.conv2"] = (width, width, 3, 3)
            if layer > 1 and block == 0:
                shapes[f"{name}.downsample.0"] = (width, before, 1, 1)
            before = width
    shapes[f"{net}.conv2"] = (out, before, 1, 1)
    return shapes


def small_convolutions() -> dict[str, Shape]:
    shapes = encoder_convolutions("fnet", (32, 64, 96), 128, True) | encoder_convolutions(
        "cnet", (32, 64, 96), 96 + 64, True
    )
    block = {
        "encoder.convc1": (96, LEVELS * 49, 1, 1), "encoder.convf1": (64, 2, 7, 7), "encoder.convf2": (32, 64, 3, 3),
        "encoder.conv": (80, 96 + 32, 3, 3), "flow_head.conv1": (128, 96, 3, 3), "flow_head.conv2": (2, 128, 3, 3),
    } | {f"gru.conv{gate}": (96, 96 + 64 + 82, 3, 3) for gate in "zrq"}  # fmt: skip
    return shapes | {f"update_block.{name}": shape for name, shape in block.items()}


def large_convolutions() -> dict[str, Shape]:
    shapes = encoder_convolutions("fnet", (64, 96, 128), 256, False) | encoder_convolutions(
        "cnet", (64, 96, 128), 128 + 128, False
    )
    block = {
        "encoder.convc1": (256, LEVELS * 81, 1, 1), "encoder.convc2": (192, 256, 3, 3),
        "encoder.convf1": (128, 2, 7, 7), "encoder.convf2": (64, 128, 3, 3), "encoder.conv": (126, 192 + 64, 3, 3),
        "flow_head.conv1": (256, 128, 3, 3), "flow_head.conv2": (2, 256, 3, 3),
        "mask.0": (256, 128, 3, 3), "mask.2": (9 * 64, 256, 1, 1),
    } | {
        f"gru.conv{gate}{part}": (128, 128 + 128 + 128, *kernel)
        for part, kernel in ((1, (1, 5)), (2, (5, 1))) for gate in "zrq"
    }  # fmt: skip
    return shapes | {f"update_block.{name}": shape for name, shape in block.items()}


def context_norms() -> dict[str, int]:
    """The batch normalisations of raft-large's context network and their channels."""
    norms = {"cnet.norm1": 64}
    for layer, width in enumerate((64, 96, 128), 1):
        for block in (0, 1):
            names = ("norm1", "norm2", "norm3") if layer > 1 and block == 0 else ("norm1", "norm2")
            norms |= {f"cnet.layer{layer}.{block}.{name}": width for name in names}
    return norms


def with_twins(state: State) -> dict[str, Tensor]:
    """`state` as the original saves it: behind `module.`, and a shortcut's normalisation under a second name too."""
    twins = {name.replace(".norm3.", ".downsample.1."): value for name, value in state.items() if ".norm3." in name}
    return {f"module.{name}": value for name, value in (dict(state) | twins).items()}
