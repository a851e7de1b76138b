"""What AWD-LSTM's parts do to a character LSTM, by how long it trains: bits per character on a text.

    python benchmarks/text_recipes.py --steps 1000 --seeds 1

The text is the first 60,000 characters of Python's own documentation (`pydoc_data.topics`), divided as a study divides
it; the network is a study's, the steps are of 16 windows of 64 characters, the learning rate's peak is 0.01 for all.
"""

from __future__ import annotations

import argparse
import math
import time
from pydoc_data.topics import topics

import torch

from poise.data.text import Text
from poise.study.choices_text import RECURRENT
from poise.study.cohort import Cohort, Plan
from poise.study.folds import make_folds
from poise.study.prepare_text import prepare_text
from poise.study.space import Config, Space
from poise.study.text_network import TextDesign

AWD = ("embedding_dropout", "locked_dropout", "recurrent_drop_connect", "temporal_penalty", "clip_norm", "decay")
ARMS = {
    "no part": ((), {}),
    "locked dropout 0.3": (("locked_dropout",), {}),
    "AWD-LSTM's parts, under half of their strength": (AWD, {}),
    "AWD-LSTM's parts, as published": (AWD, RECURRENT.rival.starts[0][1]),
}


def main() -> None:
    """Print a row an arm at each of four evaluations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ready = prepare_text(Text("topics", "\n".join(topics.values())[:60_000]), seed=0, design=TextDesign())
    folds = make_folds(ready.strata, task="classification", count=1, seed=0, time=ready.time)
    space = Space(AWD, choices=RECURRENT)
    configs: list[Config] = []
    for seed in range(given.seeds):
        configs += [space.config(seed, on, dials, 1e-2) for on, dials in ARMS.values()]
    plan = Plan(given.steps, 16, given.steps // 4)
    cohort = Cohort(ready.problem, space.recipe, configs, folds, plan, seed=0)
    train = folds.train[0]
    began = time.process_time()
    print("| recipe | steps | train | validation |\n|---|---|---|---|")
    for until in range(plan.every, plan.steps + 1, plan.every):
        cohort.train(until)
        fitted = -cohort.population.outputs(ready.problem.rows.inputs[train]).mean((1, 2, 3)) / math.log(2)
        held = cohort.validation()[0] / math.log(2)
        for place, name in enumerate(ARMS):
            own = [place + len(ARMS) * seed for seed in range(given.seeds)]
            print(f"| {name} | {until} | {fitted[own].mean():.2f} | {held[own].mean():.2f} |", flush=True)
    print(f"processor time: {time.process_time() - began:.0f} s")


if __name__ == "__main__":
    main()
