"""A recipe in skorch: a mixin before NeuralNetClassifier or NeuralNetRegressor."""

from __future__ import annotations

from typing import Any, Literal

from skorch.dataset import unpack_data

from poise.adapters.chosen import check_monitor, load_chosen, move_memory, score_of
from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.train.run import Run

__all__ = ["Regularized"]


class Regularized:
    """First among the bases: `class Net(Regularized, NeuralNetClassifier): pass`; then `Net(module, recipe=...)`.

    `monitor`: the column of the history that stopping parts watch, `mode` "min" or "max", `seed` as in
    `recipe.start`. The criterion must take distributions where a part makes them: CrossEntropyLoss, not NLLLoss.
    Validation uses the averaged weights; after fit the best stay, else the averaged. `run_` is the run. skorch's own
    callbacks (clipping gradients, say) act after the recipe's gradient and shrink stages.

    Raises: ArgumentError at initialization, and where training is to go on (`partial_fit`), which no state is kept for.
    """

    def __init__(
        self,
        *arguments: Any,
        recipe: Recipe,
        monitor: str = "valid_loss",
        mode: Literal["min", "max"] = "min",
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.recipe = recipe
        self.monitor = monitor
        self.mode = mode
        self.seed = seed

    def initialize_module(self) -> Any:
        check_monitor(type(self).__name__, self.recipe, self.monitor, self.mode)
        super().initialize_module()  # type: ignore[misc]  # skorch's, as all below
        self.run_: Run = self.recipe.start(self.module_, seed=self.seed)  # type: ignore[attr-defined]
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A pickled net predicts: the run, which trains, would be of no use to it.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if name != "run_"}

    def on_train_begin(self, net: Any, *given: Any, **named: Any) -> None:
        super().on_train_begin(net, *given, **named)  # type: ignore[misc]
        if self.run_.draws:
            raise ArgumentError(f"`{type(self).__name__}.partial_fit` cannot go on with a recipe. Call fit.")
        move_memory(self.run_)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        net: Any = self
        net._set_training(True)
        inputs, targets = self.run_.batch(*unpack_data(batch))
        outputs = net.infer(inputs, **fit_params)
        loss = self.run_.objective(net.get_loss(outputs, targets, X=inputs, training=True), outputs=outputs)
        loss.backward()
        return {"loss": loss, "y_pred": outputs}

    def on_grad_computed(self, net: Any, named_parameters: Any, *given: Any, **named: Any) -> None:
        super().on_grad_computed(net, named_parameters, *given, **named)  # type: ignore[misc]
        self.run_.before_step(net.optimizer_)

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        step = super().train_step(batch, **fit_params)  # type: ignore[misc]
        self.run_.after_step(self.optimizer_)  # type: ignore[attr-defined]
        return step

    def run_single_epoch(self, iterator: Any, training: bool, *given: Any, **named: Any) -> None:
        if training:
            super().run_single_epoch(iterator, training, *given, **named)  # type: ignore[misc]
        else:
            with self.run_.evaluation():
                super().run_single_epoch(iterator, training, *given, **named)  # type: ignore[misc]

    def notify(self, method_name: str, **facts: Any) -> None:
        super().notify(method_name, **facts)  # type: ignore[misc]
        # After skorch's callbacks: they write the epoch's scores into the history.
        if method_name == "on_epoch_end" and self.recipe.stage("stop"):
            row = self.history[-1]  # type: ignore[attr-defined]
            if self.run_.stop(score_of(type(self).__name__, row, self.monitor, self.mode)):
                raise KeyboardInterrupt  # as skorch's EarlyStopping ends a fit
        if method_name == "on_train_end":
            load_chosen(self.run_, None)
