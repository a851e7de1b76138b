"""A recurrent network for sequences of tokens."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from poise.models.sizes import check_choice, check_sizes
from poise.models.tie import tie

__all__ = ["RecurrentNet"]

_KINDS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class RecurrentNet(nn.Module):
    """An embedding, `depth` recurrent layers of `width` units, and a linear head at every place of the sequence.

    With as many outputs as tokens it is a language model: train it on `tokens[:, 1:]` given `tokens[:, :-1]`. With
    `tied` the head's matrix is the embedding's, as that needs one width, and outputs = tokens. The layers stand one
    by one, not as a stack of torch's, so that `LockedDropout` acts between them. torch.vmap has no rule for torch's
    recurrent layers: populations train it member by member.

    Shapes: (B, T) int64 -> (B, T, outputs).
    Raises: ArgumentError for sizes < 1, another kind, or a tied head of another number of outputs.
    Source: Merity, Keskar, Socher 2018, "Regularizing and optimizing LSTM language models", for the shape; Press and
        Wolf 2017, "Using the output embedding to improve language models", for tying.

    >>> import torch
    >>> model = RecurrentNet(50, 50, width=8, tied=True)
    >>> model(torch.zeros(2, 7, dtype=torch.int64)).shape
    torch.Size([2, 7, 50])
    >>> model.head.weight is model.embedding.weight
    True
    """

    def __init__(
        self, tokens: int, outputs: int, *, width: int = 128, depth: int = 1, kind: str = "lstm", tied: bool = False
    ) -> None:
        super().__init__()
        check_sizes("RecurrentNet", tokens=tokens, outputs=outputs, width=width, depth=depth)
        check_choice("RecurrentNet", "kind", kind, _KINDS)
        self.embedding = nn.Embedding(tokens, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)  # as a head, unit variance would give huge logits
        self.layers = nn.ModuleList(_KINDS[kind](width, width, batch_first=True) for _ in range(depth))
        self.head = nn.Linear(width, outputs)
        if tied:
            tie(self, "embedding.weight", "head.weight")

    def forward(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.embedding(tokens)
        for layer in self.layers:
            states, _ = layer(states)
        return self.head(states)  # type: ignore[no-any-return]  # nn.Module's call is untyped
