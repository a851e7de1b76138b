"""What a study makes: an ensemble of networks with the encoder and the target, from frames to predictions, on disk."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from poise.core.errors import CheckpointError
from poise.core.recipe import Recipe
from poise.core.spec import from_spec
from poise.data import Encoder, Target
from poise.models.tabular import ColumnPlan
from poise.study.problem import Design, network
from poise.study.store import load_folder, save_folder
from poise.train.stack import Stack

__all__ = ["TableModel", "load_model", "plan_of"]


@dataclass(frozen=True)
class TableModel:
    """An ensemble for one table.

    `shares` (M,) are the members' weights in the mean prediction, `temperature` divides the log of the mean
    probabilities. `class_weights` (K,) are those of the loss: probabilities are divided by them, so that they are the
    classes' own and not those of a reweighted world. `decision_weights` (K,) multiply the probabilities when a label
    is chosen: balanced ones aim at balanced accuracy.
    """

    stack: Stack
    shares: Tensor
    temperature: float
    class_weights: np.ndarray | None
    decision_weights: np.ndarray | None
    encoder: Encoder
    target: Target
    recipe: Recipe  # of the network's structure
    design: Design
    edges: Tensor | None

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Return (N, K) calibrated probabilities in the order of `target.labels`. Shapes: inputs (N, F) encoded."""
        outputs = self.stack.outputs(torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)))
        mean = torch.einsum("m,mnk->nk", self.shares.double(), torch.softmax(outputs.double(), dim=-1))
        found: np.ndarray = torch.softmax(mean.clamp(min=1e-30).log() / self.temperature, dim=-1).numpy()
        if self.class_weights is not None:
            found = found / self.class_weights
        return np.asarray(found / found.sum(1, keepdims=True))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (N,) codes: the largest probability times decision weight."""
        weights = 1.0 if self.decision_weights is None else self.decision_weights
        return np.asarray((probabilities * weights).argmax(1))

    def values(self, inputs: np.ndarray) -> np.ndarray:
        """Return (N,) predicted numbers in the target's own units."""
        outputs = self.stack.outputs(torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32)))
        mean = torch.einsum("m,mnk->nk", self.shares.double(), outputs.double())
        return np.asarray(self.target.decode(mean[:, 0].numpy()))

    def labels(self, inputs: np.ndarray) -> np.ndarray:
        """Return (N,) class labels."""
        return np.asarray(self.target.decode(self.decide(self.probabilities(inputs))))

    def predict_frame(self, frame: object) -> pd.DataFrame:
        """Return a frame with `prediction`, and for classes one `probability LABEL` column each."""
        inputs = self.encoder.transform(frame)
        index = frame.index if isinstance(frame, pd.DataFrame) else None
        if self.target.task == "regression":
            return pd.DataFrame({"prediction": self.values(inputs)}, index=index)
        chances = self.probabilities(inputs)
        found = {"prediction": np.asarray(self.target.decode(self.decide(chances)))}
        for place, label in enumerate(self.target.labels):
            found[f"probability {label}"] = chances[:, place]
        return pd.DataFrame(found, index=index)

    def single(self, place: int) -> TableModel:
        """Return the model of one member."""
        return dataclasses.replace(self, stack=self.stack.select(torch.tensor([place])), shares=torch.ones(1))

    def save(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and `manifest.json`; the folder appears whole or not at all."""
        state, arrays = self.encoder.state()
        tensors: dict[str, Any] = {f"encoder/{name}": array for name, array in arrays.items()}
        tensors |= {f"weight/{name}": tensor.contiguous() for name, tensor in self.stack.weights.items()}
        tensors |= {f"buffer/{name}": tensor.contiguous() for name, tensor in self.stack.buffers.items()}
        tensors["shares"] = self.shares
        if self.edges is not None:
            tensors["edges"] = self.edges
        for name, weights in (("class_weights", self.class_weights), ("decision_weights", self.decision_weights)):
            if weights is not None:
                tensors[name] = np.asarray(weights, dtype=np.float64)
        metadata = {
            "kind": "table model",
            "encoder": state,
            "target": self.target.state(),
            "recipe": self.recipe.spec(),
            "design": dataclasses.asdict(self.design),
            "temperature": self.temperature,
        }
        save_folder(Path(folder), tensors, metadata)

    @staticmethod
    def load(folder: str | Path) -> TableModel:
        """Return the model that `save` wrote. Raises CheckpointError if anything in it is not as written."""
        tensors, metadata = load_folder(Path(folder))
        try:
            if metadata["kind"] != "table model":
                raise CheckpointError(f"{folder} holds a {metadata['kind']!r}, not a table model.")
            encoder = Encoder.from_state(
                metadata["encoder"],
                {n.removeprefix("encoder/"): t.numpy() for n, t in tensors.items() if n.startswith("encoder/")},
            )
            target = Target.from_state(metadata["target"])
            recipe, design = from_spec(metadata["recipe"]), Design(**metadata["design"])
            weights = {n.removeprefix("weight/"): t for n, t in tensors.items() if n.startswith("weight/")}
            buffers = {n.removeprefix("buffer/"): t for n, t in tensors.items() if n.startswith("buffer/")}
            outputs = len(target.labels) if target.task == "classification" else 1
            edges = tensors.get("edges")
            module = recipe.network(network(plan_of(encoder), outputs, design, edges)).eval()
            # Buffers, too: a dial that is missing would silently be the one that the part starts from.
            named = [*module.named_parameters(), *module.named_buffers()]
            expected = {name: (len(tensors["shares"]), *tensor.shape) for name, tensor in named}
            if expected != {name: tuple(tensor.shape) for name, tensor in (weights | buffers).items()}:
                raise CheckpointError(f"{folder}: the weights do not fit the network that the manifest describes.")
            own = {name: tensors[name].numpy() for name in ("class_weights", "decision_weights") if name in tensors}
            return TableModel(
                Stack(module, weights, buffers),
                tensors["shares"],
                float(metadata["temperature"]),
                own.get("class_weights"),
                own.get("decision_weights"),
                encoder,
                target,
                recipe,
                design,
                edges,
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{folder}: the manifest does not describe a table model ({error}).") from None


def plan_of(encoder: Encoder) -> ColumnPlan:
    """Return the column plan of an encoder."""
    return ColumnPlan(tuple(int(group) for group in encoder.groups), tuple(encoder.kinds))


def load_model(path: str | Path) -> TableModel:
    """Return the model of a study's folder, or of its `model` folder."""
    folder = Path(path)
    inner = folder / "model"
    return TableModel.load(inner if inner.is_dir() else folder)
