"""How accurate the profile `general` is on sequences that it never saw: cross-validation over DAVIS 2016's 30 training
sequences, in the three folds of the manifest davis2016-folds.

    python benchmarks/cross_validation.py --data DATA [--data duts=DIR ...] [--out OUT] [--folds 1,2,3]
        [--name NAME] [--stride N] [--set K=V ...]

Each fold is one run of the profile: what sees DAVIS is trained on the 20 other sequences, pre-training on stills is
shared by all (one store, one key). Prints the mean over sequences of J and F (per cent, protocol davis2016), how far
the folds' means lie apart, and by how much the joint differs from each other method, sequence by sequence, with a 95 %
bootstrap interval. All figures go to OUT/cross-validation/NAME.csv. Killed, it goes on.

A slow model in the appearance stream's place, on every tenth frame (the motion stream as in the run without):

    ... --name u2net --stride 10 --set appearance-training.model=rembg:u2net --set fusion-training.pairs_share=0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from fusionseg.pipeline.report.tables import load_scores
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.runner import open_session, run_chain
from fusionseg.pipeline.scoring.statistics import overall_table, paired_difference
from fusionseg.pipeline.store.runs import read_run

PROFILE, FOLDS = "general", "davis2016-folds"
TRAINED_ON = ("annotated", "boxed")  # roles that the sequences outside the fold play, beside `fusion`


def run_fold(fold: int, options: argparse.Namespace) -> pd.DataFrame:
    """Scores of one fold's sequences, one row a method and sequence."""
    roles = [f'data.{role}={{manifest="{FOLDS}", split="train{fold}"}}' for role in TRAINED_ON]
    every = f"stride={options.stride}"
    roles.append(f'data.fusion={{manifest="{FOLDS}", split="train{fold}", {every}}}')
    scored = f'data.scored=[{{manifest="{FOLDS}", split="fold{fold}", {every}}}]'
    name = f"{options.name} fold {fold}"
    request = Request(PROFILE, tuple(options.data), str(options.out), name, (*roles, scored, *options.set))
    print(f"== {name}", flush=True)
    session = open_session(request)
    run_chain(session, report=False)
    root = session.context.root
    return load_scores(root, read_run(root, name)).by_sequence.assign(fold=fold)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over all sequences by method, and the smallest and largest mean of a fold, in per cent."""
    found = overall_table(rows).set_index("method")[["J", "F"]]
    folds = rows.groupby(["fold", "method"])[["J", "F"]].mean().groupby("method")
    for column in ("J", "F"):
        found[f"{column} of folds"] = [
            f"{100 * low:.1f} to {100 * high:.1f}"
            for low, high in zip(folds[column].min()[found.index], folds[column].max()[found.index], strict=True)
        ]
    found[["J", "F"]] = (100 * found[["J", "F"]]).round(1)
    return found


def differences(rows: pd.DataFrame) -> list[str]:
    """The joint against each other method, a line each."""
    lines = []
    for method in (name for name in rows["method"].unique() if name != "joint"):
        found = [paired_difference(rows, "joint", method, column) for column in ("J", "F")]
        told = [f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" for d in found]
        lines.append(f"joint less {method}: J {told[0]}, F {told[1]}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="[NAME=]ROOT")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--folds", default="1,2,3")
    parser.add_argument("--name", default="general", help="of the runs and of the file of figures")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="fuse and score every N-th frame")
    parser.add_argument("--set", action="append", default=[], metavar="K=V")
    options = parser.parse_args()
    rows = pd.concat([run_fold(int(fold), options) for fold in options.folds.split(",")], ignore_index=True)
    folder = options.out / "cross-validation"
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / f"{options.name}.csv", index=False)
    print(table(rows).to_string())
    print("\n".join(differences(rows)))


if __name__ == "__main__":
    main()
