"""A text made ready for a study: divided along its length, and cut into windows of codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from poise.core.errors import DataError
from poise.data import Table, Target, split
from poise.data.characters import UNKNOWN, CharacterEncoder
from poise.data.text import Text
from poise.study.folds import make_folds
from poise.study.prepare import Prepared
from poise.study.problem import Problem
from poise.study.sequence_head import SequenceHead
from poise.study.text_network import TextDesign
from poise.train.rows import Rows

__all__ = ["LEAST_WINDOWS", "prepare_text"]

LEAST_WINDOWS = 40
"""Windows that a text must fill: eight of them are the test part, as many choose the recipe, and three stop."""

_TARGET = "next character"


def prepare_text(text: Text, *, seed: int, design: TextDesign) -> Prepared:
    """Divide a text and encode it: training, stopping, validation and test are stretches one after another.

    No window reaches into two of them. The vocabulary is that of the stretch that is trained on in the search.
    Raises: DataError if the text is too short.
    """
    size = design.window
    count = len(text) // size
    if count < LEAST_WINDOWS:
        raise DataError(
            f"{text.name}: the text has {len(text):,} characters; a study with windows of {size} needs "
            f"{LEAST_WINDOWS} of them, {LEAST_WINDOWS * size:,} characters. Give a longer text, or a smaller window."
        )
    places = np.arange(count)
    nothing = np.zeros(count, np.int64)
    parts = split(nothing, task="classification", time=places)
    development = np.sort(np.concatenate([parts.train, parts.stop, parts.validation]))
    own = places[development]
    # As the search divides them: by order alone, whatever the seed.
    trained = make_folds(nothing[development], task="classification", count=1, seed=seed, time=own).train[0].numpy()
    encoder = CharacterEncoder.fit(text.text[: (int(trained.max()) + 1) * size], size)
    windows = encoder.windows(text.text)
    inputs = encoder.inputs(windows)
    problem = Problem(
        Rows(torch.from_numpy(inputs[development]), torch.from_numpy(windows[development]).unsqueeze(-1)),
        (SequenceHead(_TARGET, encoder.size),),
        design.plan(encoder),
        design,
    )
    stretches = [text.text[start : start + size] for start in range(0, count * size, size)]
    return Prepared(
        Table(text.name, pd.DataFrame({"window": places}), pd.DataFrame({_TARGET: stretches})),
        places,
        (Target("text", _TARGET, "a text"),),
        parts,
        development,
        inputs,
        (nothing,),
        encoder,
        problem,
        {"text": f"{count * size:,} characters, {len(encoder.symbols)} in the vocabulary, windows of {size}"},
        (*text.notes, *_unknown(windows[development])),
        None,
        own,
    )


def _unknown(windows: np.ndarray) -> list[str]:
    """Return what is to be said of characters that are not in the vocabulary."""
    share = float((windows == UNKNOWN).mean())
    if not share:
        return []
    return [f"{share:.2%} of the characters that are developed on are too rare in the training stretch to be known."]
