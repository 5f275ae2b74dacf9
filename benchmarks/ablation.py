"""What each part of the networks and of their training is worth, on the real held-out sequences.

    python benchmarks/ablation.py DATA [--out OUT] [--seeds 0,1,2] [--only 'NAME;NAME'] [--set K=V]

Every variant is the profile `davis` with other settings, run with each seed (of all three trainings), and shares what
it can with the others in one store: the streams are trained once a seed. Killed, it goes on. J in per cent, protocol
`davis2016`, mean over seeds and the spread (largest less smallest). J of the validation sequences (what the trainings
kept; few frames, at the network's size) is what settings are chosen by; the rest is for reporting. All figures also go
to OUT/ablation/scores.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from fusionseg.pipeline.report.tables import load_scores
from fusionseg.pipeline.run.request import Request
from fusionseg.pipeline.run.session import Session
from fusionseg.pipeline.store.runs import RunRecord, read_run

FUSIONS = ("paper", "release", "gated")
# Variants by name: settings other than the profile's.
VARIANTS: dict[str, tuple[str, ...]] = {
    **{f"fusion {name}": (f"fusion-training.fusion={name}",) for name in FUSIONS},
    # The fusion learns where the motion stream learnt too: what trusting it too much costs.
    **{
        f"fusion {name}, where motion learnt": (
            f"fusion-training.fusion={name}",
            'data.fusion={manifest = "davis2016-small", split = "motion"}',
        )
        for name in FUSIONS
    },
    "batch norm trained on flow images": ("fusion-training.fusion=average", "motion-training.batch_norm=trained"),
    "camera motion kept": ("fusion-training.fusion=average", "optical-flow.stabilise=none"),
    "scaled by the largest magnitude": ("fusion-training.fusion=average", "flow-images.scaling=max"),
    "running mean of motion weights": ("fusion-training.fusion=average", "motion-training.ema=0.98"),
}
METHODS = ["appearance", "motion", "average", "joint"]
TRAININGS = ["appearance-training", "motion-training", "fusion-training"]


def run(data: Path, out: Path, variant: str, seed: int, more: list[str]) -> pd.DataFrame:
    """Run a variant (or find it done); its figures: method, J, F; and validation J of the trainings as methods."""
    seeds = [f"{stage}-training.seed={seed}" for stage in ("appearance", "motion", "fusion")]
    overrides = (*VARIANTS[variant], *seeds, "prediction.baselines=false", *more)
    name = f"ablation {variant.replace(',', '')} {seed}"
    session = Session(Request("davis", (str(data),), str(out), name, overrides), print)
    print(f"== {name}", flush=True)
    for stage in session.names:
        session.run_stage(stage)
    record = read_run(session.context.root, name)
    overall = load_scores(session.context.root, record).overall
    found = overall.loc[overall["method"].isin(METHODS), ["method", "J", "F"]]
    return pd.concat([found, validation(record)]).assign(variant=variant, seed=seed)


def validation(run: RunRecord) -> pd.DataFrame:
    """J on the validation sequences of what each training kept; a fusion without parameters has none."""
    counts = {stage: run.records(stage)[0].counts for stage in TRAININGS}
    rows = [(f"{s} (validation)", c["best_validation_j"]) for s, c in counts.items() if "best_validation_j" in c]
    return pd.DataFrame(rows, columns=["method", "J"])


def spread(values: pd.Series) -> str:
    """Mean and spread in per cent."""
    numbers = 100 * np.asarray(values, float)
    return f"{numbers.mean():.1f} ({numbers.max() - numbers.min():.1f})"


def show(rows: pd.DataFrame) -> None:
    """One line a variant, as Markdown."""
    for measure, methods in (("J", METHODS), ("F", METHODS), ("J", [f"{stage} (validation)" for stage in TRAININGS])):
        table = rows.pivot_table(index="variant", columns="method", values=measure, aggfunc=spread, sort=False)
        table = table[[m for m in methods if m in table]].fillna("")
        print(f"\n| {measure}, mean (spread) of {rows['seed'].nunique()} seeds | {' | '.join(table)} |")
        print("| --- " * (len(table.columns) + 1) + "|")
        for variant, line in table.iterrows():
            print(f"| {variant} | {' | '.join(map(str, line))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", help="variants, separated by semicolons [all]")
    parser.add_argument("--set", action="append", default=[], metavar="K=V", dest="more")
    options = parser.parse_args()
    variants = [v.strip() for v in options.only.split(";")] if options.only else list(VARIANTS)
    found = []
    for seed in map(int, options.seeds.split(",")):
        for variant in variants:
            found.append(run(options.data, options.out, variant, seed, options.more))
            folder = options.out / "ablation"
            folder.mkdir(parents=True, exist_ok=True)
            pd.concat(found).to_csv(folder / "scores.csv", index=False)
    show(pd.concat(found, ignore_index=True))


if __name__ == "__main__":
    main()
