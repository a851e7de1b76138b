"""Run by test_ranks.py in each of two processes: train under DistributedDataParallel and write what came out."""

import sys

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from poise import L1, L2, ClipNorm, Decay, Dropout, Ema, InputNoise, Mixup, Patience, Recipe

RECIPE = Recipe(
    Mixup(0.4), InputNoise(0.1), Dropout(0.3), L2(1e-3), L1(1e-4), ClipNorm(0.5), Decay(0.1), Ema(0.9), Patience(2)
)  # fmt: skip
STEPS, ROWS = 12, 8


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def rows(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 * step + rank)
    inputs = torch.randn(ROWS, 5, generator=generator, dtype=torch.float64)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()


def score(step: int, rank: int) -> float:
    """A score that the two processes see differently: alone, rank 0 would stop at another evaluation than rank 1."""
    return (1.0, 0.5, 0.9, 0.4, 0.8, 0.7)[step] if rank == 0 else (1.0, 0.9, 0.2, 0.9, 0.9, 0.9)[step]


def main(rank: int, world: int, port: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    run = RECIPE.start(network(), seed=5)
    model = DistributedDataParallel(run.model)
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1e-2, weight_decay=0.0)
    stops = []
    for step in range(STEPS):
        inputs, targets = run.batch(*rows(step, rank))
        outputs = model(inputs)
        run.objective(F.cross_entropy(outputs, targets), outputs=outputs).backward()
        run.update(optimizer)
        if step % 2 == 1:
            stops.append(run.stop(score(step // 2, rank)))
    found = {"weights": run.model.state_dict(), "averaged": run.averaged, "stops": stops, "best": run.best}
    torch.save(found, f"{out}/{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
