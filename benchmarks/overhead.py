"""What a recipe costs in a plain loop beyond its mathematics: `python -m benchmarks.overhead`.

Five arms take turns on the same model and rows, one thread, in one process; times are processor time, and what is
printed are ratios of medians. `bare`: a torch loop with AdamW. `empty`: the same loop through an empty recipe.
`recipe`: mixup, label smoothing, dropout, an L2 term, clipping, decoupled decay and an average of the weights as a
poise recipe. `maths`: the same parts' arithmetic called line by line, without run, recipe or fold: what is beyond it is
the recipe's own cost. `by hand`: the same seven in plain torch, the usual way, with torch's own samplers.

    python -m benchmarks.overhead                   # measure, print, write results/overhead.json
    python -m benchmarks.overhead --profile mlp     # where the recipe's time goes
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from poise import L2, ClipNorm, Decay, Dropout, Ema, LabelSmoothing, Mixup, Recipe
from poise.core.context import Batch, Context
from poise.core.kinds import inserted_layers
from poise.core.rng import Rng, key
from poise.core.select import roles_of

RESULT = Path(__file__).parent / "results" / "overhead.json"
EMPTY = Recipe()
FULL = Recipe(
    Mixup(0.2), LabelSmoothing(0.1), Dropout(0.2), L2(1e-5), ClipNorm(1.0), Decay(0.05), Ema(0.999, warmup=False)
)  # fmt: skip
CLASSES = 10


Steps = Callable[[int], None]


def act(drop: float) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(drop)) if drop else nn.ReLU()


class Block(nn.Module):
    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            act(drop),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.act = act(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.branch(x))  # type: ignore[no-any-return]


def mlp(drop: float) -> nn.Module:
    """About a million parameters: 784-640-640-10."""
    return nn.Sequential(
        nn.Linear(784, 640), act(drop), nn.Linear(640, 640), act(drop), nn.Linear(640, CLASSES)
    )  # fmt: skip


def resnet(drop: float) -> nn.Module:
    """Three residual blocks of width 16 for images of 32 x 32."""
    stem = [nn.Conv2d(3, 16, 3, padding=1), act(drop)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)]
    return nn.Sequential(*stem, *[Block(16, drop) for _ in range(3)], *head)


MODELS = {"mlp": (mlp, (128, 784)), "resnet": (resnet, (32, 3, 32, 32))}


def rows(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.arange(shape[0]) % CLASSES


def bare(name: str) -> Steps:
    make, shape = MODELS[name]
    model, (x, y) = make(0.0), rows(shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)

    def steps(count: int) -> None:
        for _ in range(count):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()

    return steps


def by_hand(name: str) -> Steps:
    make, shape = MODELS[name]
    model, (x, y) = make(0.2), rows(shape)
    weights = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    beta = torch.distributions.Beta(0.2, 0.2)

    def steps(count: int) -> None:
        for _ in range(count):
            share, partner = beta.sample((len(x),)), torch.randperm(len(x))
            mixed = torch.lerp(x[partner], x, share.reshape(-1, *[1] * (x.dim() - 1)))
            targets = F.one_hot(y, CLASSES).float()
            targets = torch.lerp(targets[partner], targets, share[:, None])
            loss = F.cross_entropy(model(mixed), targets, label_smoothing=0.1)
            (loss + 0.5e-5 * sum(w.square().sum() for w in weights)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(model)

    return steps


def maths(name: str) -> Steps:
    make, shape = MODELS[name]
    x, y = rows(shape)
    names = ("mixup", "label_smoothing", "l2", "clip_norm", "decay", "ema")
    mixup, smooth, penalty, clip, decay, ema = (FULL[part] for part in names)
    model = FULL["dropout"].network(make(0.0))
    layers = [layer for _path, layer in inserted_layers(model)]
    params = dict(model.named_parameters())
    weights = {path: p for path, p in params.items() if p.dim() > 1}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    base = Context(0, Rng(key(0)), lr=1e-3, params=params, roles=roles_of(model), classes=CLASSES)
    shadows, done = ema.remember(params), 0

    def steps(count: int) -> None:
        nonlocal shadows, done
        for _ in range(count):
            own = key(0, 0, done)
            done += 1
            ctx = replace(base, rng=Rng(own))
            for layer in layers:
                layer.key = own
            batch, _none = mixup.batch(Batch(x, F.one_hot(y, CLASSES).float()), {}, ctx)
            batch, _none = smooth.batch(batch, {}, ctx)
            loss = F.cross_entropy(model(batch.inputs), batch.targets)
            (loss + penalty.penalty(weights, ctx)).backward()
            with torch.no_grad():
                grads, _none = clip.gradient({path: p.grad for path, p in params.items()}, {}, ctx)
                for path, grad in grads.items():
                    params[path].grad = grad
                shrunk, _none = decay.shrink({path: p.detach() for path, p in params.items()}, {}, ctx)
                for path in weights:
                    params[path].copy_(shrunk[path])
                optimizer.step()
                _averaged, shadows = ema.average({path: p.detach() for path, p in params.items()}, shadows, ctx)
            optimizer.zero_grad()

    return steps


def with_recipe(name: str, recipe: Recipe) -> Steps:
    make, shape = MODELS[name]
    x, y = rows(shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "l2 and decay both shrink")
        run = recipe.start(make(0.0), classes=CLASSES)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-3, weight_decay=0.0)

    def steps(count: int) -> None:
        for _ in range(count):
            inputs, targets = run.batch(x, y)
            outputs = run.model(inputs)
            run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
            run.update(optimizer)

    return steps


ARMS: dict[str, Callable[[str], Steps]] = {
    "bare": bare,
    "empty": lambda name: with_recipe(name, EMPTY),
    "by hand": by_hand,
    "maths": maths,
    "recipe": lambda name: with_recipe(name, FULL),
}


def measure(name: str, rounds: int, steps: int) -> dict[str, float]:
    """Return each arm's processor time of a step in ms: the median over rounds in which the arms take turns."""
    arms = {arm: make(name) for arm, make in ARMS.items()}
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for arm in arms.values():
        arm(8)  # the no-op detector has let go by then, and caches are warm
    for number in range(rounds):
        order = list(arms) if number % 2 else list(reversed(arms))
        for arm in order:
            start = time.process_time()
            arms[arm](steps)
            times[arm].append((time.process_time() - start) / steps * 1e3)
    return {arm: statistics.median(found) for arm, found in times.items()}


def report(found: dict[str, dict[str, float]]) -> str:
    lines = ["           empty recipe / bare   recipe / its maths   recipe / by hand   by hand / bare"]
    for name, ms in found.items():
        pairs = (("empty", "bare", 22), ("recipe", "maths", 21), ("recipe", "by hand", 19), ("by hand", "bare", 17))
        lines.append(f"{name:<10}" + "".join(f"{ms[one] / ms[two]:>{width}.3f}" for one, two, width in pairs))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a recipe costs in a plain loop beyond its mathematics.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--profile", choices=MODELS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.profile:
        steps = with_recipe(chosen.profile, FULL)
        steps(8)
        profile = cProfile.Profile()
        profile.runcall(steps, 200)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    found = {name: measure(name, chosen.rounds, chosen.steps) for name in MODELS}
    RESULT.write_text(json.dumps({"ms a step": found, "torch": torch.__version__}, indent=1) + "\n")
    print(report(found))


if __name__ == "__main__":
    main()
