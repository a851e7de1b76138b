"""How well an ensemble predicts the characters of a text, and text that it writes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from poise.core.errors import ArgumentError, shown
from poise.data.characters import START, UNKNOWN, CharacterEncoder
from poise.study.readings import Readings
from poise.study.text_network import TextNetwork
from poise.train.stack import Stack

__all__ = ["read_windows", "text_frame", "write_text"]

_CHUNK = 64  # windows at once: of 12 networks and 100 characters, 20 MB


def read_windows(stack: Stack, shares: Tensor, inputs: np.ndarray) -> Readings:
    """Return how the mean of the networks' probabilities does on windows (N, T + 1) of codes, a start first."""
    found = []
    for part in torch.from_numpy(inputs).split(_CHUNK):
        mean = _chances(stack, shares, part)
        truth = part[:, 1:]
        losses = -mean.gather(-1, truth.unsqueeze(-1)).squeeze(-1).clamp(min=1e-30).log()
        right = (mean.argmax(-1) == truth).double()
        held = truth != START
        count = held.sum(1)
        found.append(torch.stack([(losses * held).sum(1) / count, (right * held).sum(1) / count, count]))
    losses, right, counts = torch.cat(found, dim=1).numpy()
    return Readings(losses, right, counts)


def _chances(stack: Stack, shares: Tensor, codes: Tensor) -> Tensor:
    """Return the mean of the networks' probabilities (n, T, K) float64."""
    mean = torch.zeros(1, dtype=torch.float64)
    for place in range(len(stack)):  # one at a time: their answers together are the largest tensor of a study
        logits = _with_logits(stack.select(torch.tensor([place]))).outputs(codes)[0]
        mean = mean + shares[place].double() * torch.softmax(logits.double(), -1)
    return mean


def _with_logits(stack: Stack) -> Stack:
    module = copy.copy(stack.module)
    assert isinstance(module, TextNetwork)
    module.logits = True
    return Stack(module, stack.weights, stack.buffers)


def text_frame(stack: Stack, shares: Tensor, inputs: np.ndarray) -> pd.DataFrame:
    """Return a row a window: its characters, the mean cross-entropy in nats, bits, and the share predicted right."""
    found = read_windows(stack, shares, inputs)
    return pd.DataFrame(
        {
            "characters": found.counts.astype(np.int64),
            "cross-entropy": found.losses,
            "bits per character": found.losses / math.log(2),
            "accuracy": found.right,
        }
    )


def write_text(
    stack: Stack,
    shares: Tensor,
    encoder: CharacterEncoder,
    prompt: str,
    characters: int,
    *,
    seed: int,
    temperature: float,
) -> str:
    """Return so many characters that follow the prompt, each drawn from the networks' mean prediction.

    A prediction reads the last `window - 1` characters. Unknown characters are not written. `temperature` divides the
    logarithms of the probabilities: below 1 the text keeps closer to what is most probable.
    """
    if isinstance(characters, bool) or not isinstance(characters, int) or characters < 1:
        raise ArgumentError(f"`StudyModel.sample.characters` must be an int >= 1; got {shown(characters)}.")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise ArgumentError(
            f"`StudyModel.sample.temperature` must be a finite number > 0; got {shown(temperature)}. 1 draws as often "
            "as the networks expect."
        )
    generator = torch.Generator().manual_seed(seed)
    codes = [START, *encoder.encode(prompt).tolist()]
    for _ in range(characters):
        read = [START, *codes[1:][-(encoder.window - 1) :]]
        # The network does not read its last code, which stands for the character that is asked for.
        chances = _chances(stack, shares, torch.tensor([[*read, UNKNOWN]]))[0, -1]
        chances[[UNKNOWN, START]] = 0.0
        logits = chances.clamp(min=1e-30).log() / temperature
        logits[[UNKNOWN, START]] = -torch.inf
        codes.append(int(torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)))
    return encoder.decode(np.asarray(codes[-characters:]))
