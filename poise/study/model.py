"""What a study makes: an ensemble of networks with the encoder and the target, from data to predictions, on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from poise.core.blocks import Blocks
from poise.core.errors import ArgumentError, CheckpointError, PoiseError
from poise.core.recipe import Recipe
from poise.core.spec import from_spec
from poise.data import Target
from poise.data.characters import CharacterEncoder
from poise.study.answer import Answer
from poise.study.design import DataEncoder, NetworkDesign
from poise.study.problem import as_inputs
from poise.study.source import Source
from poise.study.sources import kind_named, kind_of
from poise.study.store import load_folder, save_folder
from poise.study.text_scores import text_frame, write_text
from poise.train.stack import Stack

__all__ = ["StudyModel", "load_model"]

WEIGHTS = ("class_weights", "decision_weights")  # of an answer, as tensors of the folder


@dataclass(frozen=True)
class StudyModel:
    """An ensemble for data of one kind, with an answer to each of the targets.

    `shares` (M,) are the members' weights in the mean prediction. Where there are several targets, `place` says which
    one a method answers; the first by default.
    """

    stack: Stack
    shares: Tensor
    answers: tuple[Answer, ...]
    encoder: DataEncoder
    recipe: Recipe  # of the network's structure
    design: NetworkDesign
    edges: Tensor | None

    @property
    def target(self) -> Target:
        """The only target, or the first."""
        return self.answers[0].target

    @property
    def kind(self) -> type[Source]:
        """The kind of data that it is for."""
        return kind_of(self.encoder)

    def outputs(self, inputs: np.ndarray) -> tuple[Tensor, ...]:
        """Return each target's outputs (M, N, width). Shapes: inputs (N, ...), encoded."""
        found = self.stack.outputs(as_inputs(inputs))
        blocks = Blocks(tuple(answer.classes for answer in self.answers))
        return tuple(blocks.own(found, place) for place in range(len(self.answers)))

    def probabilities(self, inputs: np.ndarray, place: int = 0) -> np.ndarray:
        """Return (N, K) calibrated probabilities in the order of the target's labels. Shapes: inputs (N, F) encoded."""
        return self.answers[place].probabilities(self.outputs(inputs)[place], self.shares)

    def decide(self, probabilities: np.ndarray, place: int = 0) -> np.ndarray:
        """Return (N,) codes: the largest probability times decision weight."""
        return self.answers[place].decide(probabilities)

    def values(self, inputs: np.ndarray, place: int = 0) -> np.ndarray:
        """Return (N,) predicted numbers in the target's own units."""
        return self.answers[place].values(self.outputs(inputs)[place], self.shares)

    def labels(self, inputs: np.ndarray, place: int = 0) -> np.ndarray:
        """Return (N,) class labels."""
        return np.asarray(self.answers[place].target.decode(self.decide(self.probabilities(inputs, place), place)))

    def predict_frame(self, data: Any) -> pd.DataFrame:
        """Return a frame with `prediction`, and for classes one `probability LABEL` column each.

        Of several targets, each column begins with its target's name: `price prediction`. `data`: rows of a table; of
        an image study, pictures (N, C, H, W) uint8 in the size it learned; of a text study, a str.
        """
        index = data.index if isinstance(data, pd.DataFrame) else None
        return self.frame_of(self.encoder.transform(data), index)

    def frame_of(self, inputs: np.ndarray, index: pd.Index | None = None) -> pd.DataFrame:
        """Return what `predict_frame` returns, of encoded inputs."""
        if self.target.task == "text":
            return text_frame(self.stack, self.shares, inputs)
        found: dict[str, np.ndarray] = {}
        for answer, outputs in zip(self.answers, self.outputs(inputs), strict=True):
            title = "" if len(self.answers) == 1 else f"{answer.target.name} "
            found |= {title + name: values for name, values in answer.columns(outputs, self.shares).items()}
        return pd.DataFrame(found, index=index)

    def sample(self, prompt: str = "", characters: int = 200, *, seed: int = 0, temperature: float = 1.0) -> str:
        """Return characters that a study of text expects after a prompt, drawn one by one.

        `temperature` below 1 keeps closer to what is most probable. Raises: ArgumentError for a model of other data.
        """
        if not isinstance(self.encoder, CharacterEncoder):
            raise ArgumentError(f"`StudyModel.sample` is for texts; this is a {self.kind.kind}. Use `predict_frame`.")
        return write_text(self.stack, self.shares, self.encoder, prompt, characters, seed=seed, temperature=temperature)

    def single(self, place: int) -> StudyModel:
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
        for place, answer in enumerate(self.answers):
            for name in WEIGHTS:
                if (weights := getattr(answer, name)) is not None:
                    tensors[f"{name}/{place}"] = np.asarray(weights, dtype=np.float64)
        metadata = {
            "kind": self.kind.kind,
            "encoder": state,
            "answers": [
                {"target": answer.target.state(), "temperature": answer.temperature} for answer in self.answers
            ],
            "recipe": self.recipe.spec(),
            "design": self.design.facts(),
        }
        save_folder(Path(folder), tensors, metadata)

    @staticmethod
    def load(folder: str | Path, model: Callable[[], nn.Module] | None = None) -> StudyModel:
        """Return the model that `save` wrote. Raises CheckpointError if anything in it is not as written.

        `model` makes the networks of a study of your own network, which no folder can describe.
        """
        tensors, metadata = load_folder(Path(folder))
        try:
            kind = kind_named(metadata["kind"], str(folder))
            arrays = {n.removeprefix("encoder/"): t.numpy() for n, t in tensors.items() if n.startswith("encoder/")}
            encoder = kind.encoder.from_state(metadata["encoder"], arrays)
            design = kind.designs.from_facts(metadata["design"], model)
            answers = _answers(metadata, tensors)
            recipe = from_spec(metadata["recipe"])
            weights = {n.removeprefix("weight/"): t for n, t in tensors.items() if n.startswith("weight/")}
            buffers = {n.removeprefix("buffer/"): t for n, t in tensors.items() if n.startswith("buffer/")}
            outputs = Blocks(tuple(answer.classes for answer in answers)).width
            edges = tensors.get("edges")
            module = recipe.network(design.build(design.plan(encoder), outputs, edges)).eval()
            # Buffers, too: a dial that is missing would silently be the one that the part starts from.
            named = [*module.named_parameters(), *module.named_buffers()]
            expected = {name: (len(tensors["shares"]), *tensor.shape) for name, tensor in named}
            if expected != {name: tuple(tensor.shape) for name, tensor in (weights | buffers).items()}:
                raise CheckpointError(f"{folder}: the weights do not fit the network that {design.described}.")
            stack = Stack(module, weights, buffers)
            return StudyModel(stack, tensors["shares"], answers, encoder, recipe, design, edges)
        except (IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, PoiseError):
                raise
            raise CheckpointError(f"{folder}: the manifest does not describe a study's model ({error}).") from None


def _answers(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Answer, ...]:
    """Return the answers that a manifest describes. Older ones tell of one target, and of no list."""
    listed = "answers" in metadata
    found = []
    for place, told in enumerate(metadata["answers"] if listed else [metadata]):
        keys = {name: f"{name}/{place}" if listed else name for name in WEIGHTS}
        own = {name: tensors[key].numpy() for name, key in keys.items() if key in tensors}
        found.append(Answer(Target.from_state(told["target"]), float(told["temperature"]), **own))
    return tuple(found)


def load_model(path: str | Path, model: Callable[[], nn.Module] | None = None) -> StudyModel:
    """Return the model of a study's folder, or of its `model` folder.

    `model` is the function that was given to a study of your own network; of other studies, leave it out.
    """
    folder = Path(path)
    inner = folder / "model"
    return StudyModel.load(inner if inner.is_dir() else folder, model)
