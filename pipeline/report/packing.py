"""`fusionseg weights pack`: the networks of a run as a set of weights to hand on, in half precision, each file saying
where it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import fusionseg
from fusionseg.models.fusion import fuse
from fusionseg.models.stream import CLASSES, Stream
from fusionseg.models.weights import halved, pack_weights
from fusionseg.pipeline.basics.atomic import atomic_folder
from fusionseg.pipeline.basics.digests import json_digest
from fusionseg.pipeline.basics.spread import spread
from fusionseg.pipeline.datasets.manifest import read_manifest
from fusionseg.pipeline.errors import UserError
from fusionseg.pipeline.networks.trained import read_fusion, read_stream
from fusionseg.pipeline.report.card import card, licence, problems
from fusionseg.pipeline.report.curves import kept_step
from fusionseg.pipeline.report.provenance import DATA_COLUMNS, data_table, digests
from fusionseg.pipeline.report.report import scored_splits
from fusionseg.pipeline.report.tables import load_scores
from fusionseg.pipeline.settings.shipped import CARD, LICENCE
from fusionseg.pipeline.store.artifact import Record
from fusionseg.pipeline.store.artifacts import read_inputs
from fusionseg.pipeline.store.runs import RunRecord, read_run, whole_command

# Largest difference of logits that half precision may make, as a share of the largest one: it makes 0.002 to 0.004 of a
# sound network, bfloat16 inference 0.03 to 0.06.
TOLERANCE = 0.02
_KEPT = (
    "kind", "reads", "architecture", "long_side", "preprocessing", "plug_ins", "fusion", "stage", "stage_version",
    "settings", "kept_step", "counts", "made", "software",
)  # fmt: skip
_HISTORY = 12  # rows of a training's history that go along
_TRAINING = ("stills", "annotated", "pairs", "boxed", "fusion", "validation")
_TRIED = ((2, 96, 160), (1, 65, 53))  # frames, height, width of the pictures that both precisions are compared on
# A path with folders, as people write it; what is behind the last slash says what was meant.
_PATH = re.compile(r"(?<![\w.~/])(?:~|\.{1,2})?(?:/[^/\s\"',=}\]]+)+/?")


def pack(root: Path, name: str, folder: Path, say: Callable[[str], None]) -> None:
    """Write the networks of run `name` of the store `root` into `folder`, which must not be there yet, with a model
    card to be completed and a licence; tell what is left to do.

    Raises UserError for a run that lacks a network, a folder that is there, and a network that half precision changes.
    """
    if folder.exists():
        raise UserError(f"-o {folder}: is there already; remove it, or choose another folder (its name is the set's)")
    run = read_run(root, name)
    origins = origin_of(root, run)
    packed = {network: _packed(root, record, origins) for network, record in run.networks.items()}
    with atomic_folder(folder) as temporary:
        for network, (data, _) in packed.items():
            (temporary / f"{network}.safetensors").write_bytes(data)
        headers = {network: header for network, (_, header) in packed.items()}
        (temporary / CARD).write_text(card(folder.name, run, headers), encoding="utf-8")
        (temporary / LICENCE).write_text(licence(folder.name), encoding="utf-8")
    for network, (data, header) in packed.items():
        say(f"{folder / network}.safetensors: {len(data) / 1e6:.1f} MB, {header['half_precision']}")
    for problem in problems(folder):
        say(f"to do: {problem}")


def _packed(root: Path, record: Record, origin: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a network's new file, and its header."""
    path, given = root / record.path, not record.key
    network, header = (read_fusion if record.stage == "fusion-training" else read_stream)(path, given)
    state = network.state_dict()
    small = halved(state)
    moved = difference(network, small)
    if not moved <= TOLERANCE:  # NaN too
        raise UserError(
            f"{path}: half precision changes its logits by {moved:.1%} of the largest, at most {TOLERANCE:.0%} expected"
        )
    half = sum(value.dtype == torch.float16 for value in small.values())
    new = {field: header[field] for field in _KEPT if field in header}
    new |= {
        "history": shortened(header),
        "original": header.get("original", header["content"]),
        "half_precision": f"{half} of {len(small)} tensors, logits within {moved:.1e} of the largest",
        "origin": header.get("origin") or (_given_origin(path, header) if given else dict(origin)),
    }
    data, content = pack_weights(small, new)
    return data, {**new, "content": content}


def difference(network: torch.nn.Module, state: Mapping[str, Tensor]) -> float:
    """How far the logits of a network (eval mode) with the tensors `state` lie from its own, as a share of the largest,
    on random pictures (of a stream) or logits (of a fusion). Afterwards it holds `state`."""
    exact = [_logits(network, *size) for size in _TRIED]
    network.load_state_dict(dict(state))
    pairs = [(before, _logits(network, *size)) for before, size in zip(exact, _TRIED, strict=True)]
    return max(float((after - before).abs().max() / before.abs().max()) for before, after in pairs)


def _logits(network: Any, frames: int, height: int, width: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        images = torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=draw)
        if isinstance(network, Stream):
            found: Tensor = network(network.prepare(images))
            return found
        shape = (frames, CLASSES, height, width)
        return fuse(network, 3 * torch.randn(shape, generator=draw), 3 * torch.randn(shape, generator=draw), images)


def shortened(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A few rows of a training's history: evenly spread, and the one that was kept."""
    history = header.get("history") or []
    kept = kept_step(header) if history else None
    chosen = [*spread(history, _HISTORY), *(row for row in history if row["step"] == kept)]
    return sorted({row["step"]: row for row in chosen}.values(), key=lambda row: int(row["step"]))


def origin_of(root: Path, run: RunRecord) -> dict[str, Any]:
    """What the weights of a run say of their making: command and settings, no folder of this machine in them; the
    manifests and digests of all data that had a part in it; the run's own figures, of full precision."""
    data, gone = data_table(root, run)
    scored = set(run.units("scored"))
    own = [unit not in scored for unit in zip(data["dataset"], data["item"], strict=True)]
    return {
        "command": command_of(run),
        "fusionseg": fusionseg.__version__,
        "profile": json.loads(without_folders(json.dumps(run.profile.as_dict()))),
        "manifests": manifests_of(run),
        "data": digests(data.loc[own]),
        "data_unknown": gone,  # artifacts of the run that are gone, and can't say what they were made from
        "figures": figures_of(root, run),
    }


def _given_origin(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """The same of weights that were given to the run: what they say themselves."""
    inputs = [one for one in read_inputs(path, header) if "digest" in one]
    rows = [(*one["item"].partition("/")[::2], one["kind"], one["digest"]) for one in inputs]
    command = f"{path.name} was given to the run, whose command doesn't train it"
    return {"command": command, "data": digests(pd.DataFrame(rows, columns=DATA_COLUMNS))}


def command_of(run: RunRecord) -> str:
    """The command that computes the run; of folders, only what they are called."""
    if not run.request:
        return without_folders(run.command)
    texts = {"profile": without_folders(run.request["profile"]), "out": "out"}
    lists = {name: [without_folders(text) for text in run.request[name]] for name in ("data", "overrides")}
    return whole_command({**run.request, **texts, **lists}, run.name).strip("`")


def without_folders(text: str) -> str:
    """A text in which each path is but what it leads to.

    >>> without_folders("davis=/home/me/data/davis"), without_folders("data.scored=[{manifest='../my.yaml'}]")
    ('davis=davis', "data.scored=[{manifest='my.yaml'}]")
    """
    return _PATH.sub(lambda found: Path(found[0]).name, text)


def manifests_of(run: RunRecord) -> list[dict[str, str]]:
    """What trained or chose: role, data set, split, title, licence, home, and the digest of the manifest."""
    found = []
    for role in _TRAINING:
        for ref in run.profile.data.of(role):
            manifest = read_manifest(ref.manifest)
            words = {"title": manifest.title, "licence": manifest.licence, "home": manifest.home}
            digest = json_digest(manifest.model_dump(mode="json"))
            found.append({"role": role, "dataset": manifest.name, "split": ref.split, **words, "digest": digest})
    return found


def figures_of(root: Path, run: RunRecord) -> list[dict[str, Any]]:
    """The run's scores: split, method, J and F in 0..1, sequences; none of a run without."""
    try:
        scores = load_scores(root, run)
    except UserError:
        return []
    splits = ", ".join(without_folders(split) for split in scored_splits(run))
    return [
        {"split": splits, "method": row["method"], "J": round(row["J"], 4), "F": round(row["F"], 4),
         "sequences": int(row["sequences"])}
        for row in scores.overall.to_dict("records")
    ]  # fmt: skip
