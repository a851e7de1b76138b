"""Whether torch.vmap speeds up a population of character networks: processor time of a step, one thread.

    python benchmarks/text_members.py

Each row is one network: milliseconds of processor time a member for a training step of 64 windows of 64 characters
among 90, members one after another ("turn") and mapped by torch.vmap ("mapped"); medians of interleaved rounds.
torch.vmap has no rule for torch's own recurrent layers, so for those an LSTM written step by step is mapped.
"""

from __future__ import annotations

import statistics
import time
import warnings

import torch
from torch import Tensor, nn

from poise.core.recipe import Recipe
from poise.models import RecurrentNet, SmallTransformer
from poise.train.looped import mark_looped
from poise.train.losses import CrossEntropy
from poise.train.population import Population, Rows

CODES, WINDOW, BATCH, MEMBERS, ROUNDS = 90, 64, 64, 6, 5


class WrittenLstm(nn.Module):
    """An embedding, one LSTM layer in plain operations, a head with the embedding's matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CODES, width)
        self.into, self.again = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)
        self.head = nn.Linear(width, CODES)
        self.head.weight = self.embedding.weight

    def forward(self, codes: Tensor) -> Tensor:
        entering = self.into(self.embedding(codes))
        hidden = cell = torch.zeros_like(entering[:, 0, : entering.shape[-1] // 4])
        states = []
        for step in entering.unbind(1):
            enter, forget, new, leave = (step + self.again(hidden)).chunk(4, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return self.head(torch.stack(states, 1))


def population(kind: str, width: int, turn: bool) -> Population:
    """Return a population of a network; members of some are mapped."""

    def build() -> nn.Module:
        if kind == "transformer":
            module: nn.Module = SmallTransformer(CODES, CODES, length=WINDOW, width=width, depth=2, tied=True)
        elif turn:
            module = RecurrentNet(CODES, CODES, width=width, kind=kind, tied=True)
        else:
            module = WrittenLstm(width)
        if turn:
            mark_looped(module)
        return module

    return Population(build, Recipe(), CrossEntropy(), lr=[1e-3] * MEMBERS, classes=CODES)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    codes = torch.randint(CODES, (256, WINDOW), generator=torch.Generator().manual_seed(0))
    data = Rows(codes, codes.unsqueeze(-1))
    print("| network | width | turn | mapped |\n|---|---|---|---|")
    for kind, width in (("lstm", 64), ("lstm", 128), ("gru", 64), ("gru", 128), ("transformer", 64)):
        arms = {"turn": population(kind, width, True)}
        if kind != "gru":
            arms["mapped"] = population(kind, width, False)
        took: dict[str, list[float]] = {name: [] for name in arms}
        for one in arms.values():
            one.train(data, 1, BATCH)
        for _ in range(ROUNDS):
            for name, one in arms.items():
                began = time.process_time()
                one.train(data, 1, BATCH)
                took[name].append(1e3 * (time.process_time() - began) / MEMBERS)
        cells = [f"{statistics.median(took[name]):.1f}" if name in took else "-" for name in ("turn", "mapped")]
        print(f"| {kind} | {width} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
