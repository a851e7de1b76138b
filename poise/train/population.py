"""A population: M networks with their own dials, learning rates and seeds, trained as one tensor program.

A member equals the same recipe trained alone: its random numbers depend on (study seed, member id, step, name) only,
and no operation mixes members. Members that diverge are marked and left behind; `keep` compacts the survivors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.context import Batch
from poise.core.kinds import inserted_layers
from poise.core.recipe import Recipe
from poise.core.rng import key
from poise.core.schedule import Schedule
from poise.core.trees import Tree, map_tree, select_members, stack_trees
from poise.train.columns import check_columns
from poise.train.cut import Cut, step_by_cut
from poise.train.device import check_device, move_population
from poise.train.footprint import footprint, plan_cut
from poise.train.idle import idle_parts
from poise.train.jointly import check_shared, joint_scores, order_keys
from poise.train.kept import improved_members, kept_weights
from poise.train.losses import Loss
from poise.train.members import build_members, member_dials, member_rates, member_seed, shared_recipe, step_rates
from poise.train.memory import keep_freed_memory
from poise.train.optimizers import Adam, Flat, Optimizer
from poise.train.recorded import Recorded
from poise.train.restate import DELIVERED, EVALUATED, restated_buffers, spread
from poise.train.rows import Picked, Rows, all_rows, epoch_order, rows_of, shared_rows
from poise.train.saved import load_state, saved_state
from poise.train.stack import Stack, map_stack
from poise.train.step import Program, State, fold_members, with_dials
from poise.train.tally import Tally

__all__ = ["Population", "Rows", "Score", "member_seed"]

Score = Callable[[Any, Batch], Tensor]
"""Takes every member's outputs (M, n, ...) and rows (Batch of (M, n, ...)), returns scores (M,), lower is better."""


class Population:
    """M members of one structure.

    `build()` returns a new network; `recipe` fixes the structure and the dials that all members share; `dials` holds
    per-member tensors (M,) under keys `part.field`; `lr` is (M,); `members` are the ids that seeds derive from
    (0 .. M-1); `schedule` scales every learning rate by its value at the step. `memory` is how many bytes all may take,
    the machine's if None: more members than fit step some at a time, with the same results. `products` "bfloat16"
    rounds what kernels multiply, where that is faster: see docs/population.md. `batches` "shared": all members see the
    same rows at a step. `stopping` "ensemble": the mean answer's score, rather than its own, tells each member's
    stopping part when to stop and which weights to keep.

    Raises: ArgumentError when a dial is unknown, out of range or not of length M; when learning rates or ids are not;
    when the networks have nothing to train, or `columns` does not fit them.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        recipe: Recipe,
        loss: Loss,
        *,
        lr: Tensor | Sequence[float],
        dials: Mapping[str, Tensor] | None = None,
        members: Sequence[int] | None = None,
        seed: int = 0,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        columns: Tensor | None = None,
        classes: int | None = None,
        blocks: Blocks | None = None,
        teacher: Callable[[Any], Any] | None = None,
        memory: int | None = None,
        products: str = "float32",
        batches: str = "own",
        stopping: str = "member",
    ) -> None:
        keep_freed_memory()
        check_shared(batches, stopping)
        self.base_lr = member_rates(lr, members)
        count = len(self.base_lr)
        self.members = list(range(count) if members is None else members)
        self.seed, self.batches, self.stopping = seed, batches, stopping
        self.schedule, self.memory, self.cut, self.recorded = schedule, memory, Cut(), Recorded()
        shared = shared_recipe(recipe)
        skeleton, params, buffers = build_members(build, shared, seed, self.members)
        own, recipe = member_dials(recipe, dials or {}, count, next(iter(params.values())).dtype), shared
        self.program = Program(skeleton, recipe, loss, optimizer or Adam(), columns, classes, blocks, teacher, products)
        check_columns(recipe, skeleton, self.program.roles, columns)
        flat = Flat.of(params)
        self.state = State(
            flat=flat,
            buffers=buffers,
            optimizer=self.program.optimizer.start(flat),
            memory=stack_trees([recipe.remember(select_members(flat.views(), torch.tensor(i))) for i in range(count)]),
            dials=own,
            keys=torch.stack([key(seed, member) for member in self.members]),
            lr=self.base_lr.clone(),
            averaged=None,
        )
        self.recipe = recipe
        self._pass_by_neutral()
        self.stopped = torch.zeros(count, dtype=torch.bool)
        self.diverged = torch.zeros(count, dtype=torch.bool)
        self.best: Tree = None
        self.best_score = torch.full((count,), torch.inf)
        self.best_step = torch.zeros(count, dtype=torch.int64)
        self.epoch_order: tuple[int, Tensor] | None = None
        self._sample: Picked | None = None  # training rows, which restate batch statistics
        self._restated: dict[str, Tensor] | None = None  # buffers of the averaged weights, until the next step

    def __len__(self) -> int:
        return len(self.members)

    def _pass_by_neutral(self) -> None:
        """Leave out the parts that are neutral for every member: they would change nothing and cost their time."""
        idle = idle_parts(self.recipe, self.state.dials)
        self.program = replace(self.program, recipe=self.recipe.without(*idle))
        for _path, layer in self.program.inserted:
            layer.idle = layer.part in idle
        if not self.program.recipe.stage("average"):
            self.state.averaged = None

    def to(self, device: torch.device | str) -> Population:
        """Move the population to a device, on which it trains and answers rows that are there, and return it.

        Random numbers are the same on every device, results to rounding.
        """
        move_population(self, device)
        if self._sample is not None:
            self._sample = Picked(self._sample.data.to(device), self._sample.index.to(device))
        self._restated = None
        return self

    # --- training ------------------------------------------------------------------------------------------------

    def train(self, data: Rows, steps: int, batch_size: int, rows: Tensor | None = None) -> dict[str, Tensor]:
        """Train every member for `steps` steps; return the mean of each term over them, (M,).

        `rows` (M, n) gives each member its own training rows; all rows if None. Batches are drawn without replacement
        within an epoch, each member in its own order; rows that fill no batch are left out of that epoch.
        """
        self.program.module.train()
        self._restated = None
        check_device(self, data)
        rows = None if rows is None else rows.to(data.inputs.device)
        own = all_rows(data, len(self)) if rows is None else rows
        count = own.shape[1]
        self._sample = Picked(data, spread(own, EVALUATED))
        plan_cut(self, data, batch_size, rows)
        size = min(batch_size, count)
        per_epoch = max(1, count // size)
        first = self.state.step
        rates = step_rates(self.base_lr, self.schedule, first, steps)
        tally = Tally(self.diverged, moves=self.program.moves)
        try:
            while (done := self.state.step - first) < steps:
                epoch, place = divmod(self.state.step, per_epoch)
                ahead = 1 if self.cut.size is not None else min(tally.ahead, steps - done, per_epoch - place)
                index = self._order(epoch, count)[:, place * size : (place + ahead) * size]
                if rows is not None:
                    index = torch.gather(rows, 1, index)
                own, how = rates[done : done + ahead], (tally.later, self.recorded)
                tally.add(step_by_cut(self.cut, self.program, self.state, data, index, epoch, own, *how))
        finally:
            tally.settle()
        return {name: total / max(1, steps) for name, total in tally.sums.items()}

    def _order(self, epoch: int, count: int) -> Tensor:
        if self.epoch_order is None or self.epoch_order[0] != epoch or self.epoch_order[1].shape != (len(self), count):
            keys = order_keys(self.state.keys, self.seed, self.batches)
            self.epoch_order = (epoch, epoch_order(keys, epoch, count))
        return self.epoch_order[1]

    # --- evaluation ----------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that evaluation uses: averaged if a part averages, else the raw ones."""
        return self.state.averaged if self.state.averaged is not None else self.state.flat.views()

    def buffers(self) -> dict[str, Tensor]:
        """Return the buffers that evaluation uses: batch statistics belong to its weights."""
        if self.state.averaged is None:
            return self.state.buffers
        if self._restated is not None:
            return self._restated
        if self._sample is None:
            return self.state.buffers
        self._restated = restated_buffers(self.program, self.state, self.weights(), self.state.buffers, self._sample)
        return self._restated

    def outputs(self, inputs: Tensor, rows: Tensor | None = None, *, best: bool = False, chunk: int = 512) -> Any:
        """Return every member's outputs (M, n, ...) in evaluation mode, of the best or the current weights.

        On the same inputs (n, ...), or each on its own `rows` (M, n) of them.
        """
        params, buffers = self.weights(), with_dials(self.program, self.state) | self.buffers()
        if best and self.best is not None:
            params, buffers = self.best["weights"], buffers | self.best["buffers"]
        stack = Stack(self.program.module.eval(), params, buffers)

        def answer(own: slice) -> Any:
            part = stack if own == slice(0, len(self)) else map_stack(lambda tensor: tensor[own], stack)
            return part.outputs(inputs, None if rows is None else rows[own], chunk=chunk)

        return map_tree(lambda *parts: torch.cat(parts) if len(parts) > 1 else parts[0],
                        *self.cut.each(len(self), answer))  # fmt: skip

    def predicted_bytes(
        self, data: Rows, batch_size: int, rows: Tensor | None = None, score: Score | None = None
    ) -> int:
        """Return the most memory that `train` with these arguments will take, what is held now counted in.

        With `score`, that of evaluations on these rows too. Two steps of copies of a few members tell.
        """
        plan_cut(self, data, batch_size, rows)
        return footprint(self, data, batch_size, rows, score).total(len(self), self.cut.size)

    def evaluate(self, data: Rows, score: Score, rows: Tensor | None = None) -> Tensor:
        """Score every member (M,), lower is better; let the stop stage decide; keep the weights worth keeping.

        Kept are the weights of a member's best evaluation if a stopping part watches it, else its latest ones.
        """
        check_device(self, data)
        outputs = self.outputs(data.inputs, rows)
        scores = score(outputs, shared_rows(data, len(self)) if rows is None else rows_of(data, rows))
        scores = torch.where(torch.isfinite(scores) & ~self.diverged, scores, torch.inf)
        judged = scores if self.stopping == "member" else joint_scores(self, outputs, data, score, rows)
        before = self.stopped
        if self.program.recipe.stage("stop"):
            self.stopped = fold_members(self.program, self.state, "stop", before, score=judged)
        improved = ~before & improved_members(self.program, self.state)
        self._keep_weights(improved)
        self.best_score = torch.where(improved, judged, self.best_score)
        self.best_step = torch.where(improved, self.state.step, self.best_step)
        return scores

    # --- survivors -----------------------------------------------------------------------------------------------

    def keep(self, places: Sequence[int]) -> None:
        """Compact the population to the members at the given places; the survivors are unchanged, bit for bit."""
        chosen = torch.as_tensor(list(places), dtype=torch.int64, device=self.state.keys.device)
        self.state = self.state.select(chosen)
        self._pass_by_neutral()
        self._sample = None if self._sample is None else self._sample.of(chosen)
        self._restated = None if self._restated is None else select_members(self._restated, chosen)
        self.members = [self.members[place] for place in chosen.tolist()]
        self.base_lr = self.base_lr[chosen]
        self.stopped, self.diverged = self.stopped[chosen], self.diverged[chosen]
        self.best = None if self.best is None else select_members(self.best, chosen)
        self.best_score, self.best_step = self.best_score[chosen], self.best_step[chosen]
        if self.epoch_order is not None:
            self.epoch_order = (self.epoch_order[0], self.epoch_order[1][chosen])

    def _keep_weights(self, members: Tensor) -> None:
        self.best = kept_weights(self.best, {"weights": self.weights(), "buffers": self.buffers()}, members)

    # --- in and out ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the population as plain tensors and numbers, without its data; see `poise.train.saved`."""
        return saved_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`, bit for bit. Raises CheckpointError if it is another population's."""
        load_state(self, state)

    def restore(self, restated: dict[str, Tensor] | None) -> None:
        """Take up work after `state` was exchanged: `restated` are the averaged weights' buffers."""
        self._sample, self._restated = None, restated
        self._pass_by_neutral()

    def stack(self, members: Sequence[int] | None = None, trained: Rows | Picked | None = None) -> Stack:
        """Return the kept (else the present) weights of all members, or of some, for prediction alone.

        Averaged weights have the batch statistics of 1,024 rows, as in evaluations; with the rows that the members were
        `trained` on, or each member's own, those of 16,384 of them, or of all if they are fewer.
        """
        places = range(len(self)) if members is None else members
        chosen = torch.as_tensor(list(places), dtype=torch.int64, device=self.state.keys.device)
        kept = self.best or {"weights": self.weights(), "buffers": self.state.buffers if trained else self.buffers()}
        weights, buffers = kept["weights"], kept["buffers"]
        if trained is not None and len(chosen):
            rows = Picked(trained, all_rows(trained, len(self))) if isinstance(trained, Rows) else trained
            rows = replace(rows, index=spread(rows.index, DELIVERED))
            asked = torch.zeros_like(self.stopped).index_fill(0, chosen, True)
            buffers = restated_buffers(self.program, self.state, weights, buffers, rows, asked)
        # With every part, also those that are neutral in this population: its members may be stacked with others'.
        dials = with_dials(replace(self.program, recipe=self.recipe), self.state)
        module = copy.deepcopy(self.program.module).eval()
        for _path, layer in inserted_layers(module):
            layer.idle = False
        return map_stack(lambda tensor: tensor[chosen], Stack(module, dict(weights), {**dials, **buffers}))
