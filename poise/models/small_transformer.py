"""A small transformer for sequences of tokens, with one block for each depth or one for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError
from poise.models.sizes import check_sizes
from poise.models.tie import tie

__all__ = ["SelfAttention", "SmallTransformer", "TransformerBlock"]


class SelfAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V for each head, with a linear map in front and one behind.

    In plain operations: torch's fused attention has no rule for torch.vmap, and `AttentionDropout` acts behind the
    softmax at the cost of one mask.

    Shapes: (B, T, width) -> (B, T, width); hidden (T, T) bool, True where a place may not look, or None.
    Source: Vaswani et al. 2017, "Attention is all you need", equation 1.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.softmax = nn.Softmax(-1)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        queries, keys, values = self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        levels = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
        weights = self.softmax(levels if hidden is None else levels.masked_fill(hidden, -torch.inf))
        return self.output((weights @ values).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # a module's call


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): a block with its norms in front.

    Shapes: (B, T, width) -> (B, T, width); hidden (T, T) bool, True where a place may not look, or None.
    Source: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3, for the order.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), hidden)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]  # nn.Module's call is untyped


class SmallTransformer(nn.Module):
    """Token and place embeddings, `depth` blocks, a norm, and a linear head at every place of the sequence.

    `causal` (a decoder: a language model) hides later tokens; without it, it is an encoder. `tied`: the head's matrix
    is the embedding's, as is usual in language models; then outputs = tokens. `shared`: one block is used at every
    depth, so that the number of parameters does not grow with it; `DropPath` then sees one block, and its rate is
    the same at every depth. Works under torch.vmap.

    Shapes: (B, T) int64, T <= length -> (B, T, outputs).
    Raises: ArgumentError for sizes < 1, heads that do not divide the width, a tied head of another number of outputs;
        at a call, for longer sequences.
    Source: Vaswani et al. 2017, "Attention is all you need"; Lan et al. 2020, "ALBERT", section 3.1, for `shared`;
        Press and Wolf 2017 for `tied`.

    >>> model = SmallTransformer(50, 50, length=16, width=8, heads=2, depth=12, shared=True, tied=True)
    >>> model(torch.zeros(2, 7, dtype=torch.int64)).shape, len(model.blocks)
    (torch.Size([2, 7, 50]), 1)
    """

    residual_branches = ()  # those of its blocks only: its own forward asks for the sequence's length

    def __init__(
        self,
        tokens: int,
        outputs: int,
        *,
        length: int,
        width: int = 64,
        heads: int = 4,
        depth: int = 2,
        causal: bool = True,
        shared: bool = False,
        tied: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"tokens": tokens, "outputs": outputs, "length": length, "width": width, "heads": heads}
        check_sizes("SmallTransformer", **sizes, depth=depth)
        if width % heads:
            raise ArgumentError(f"`SmallTransformer.heads` must divide the width {width}; got {heads}.")
        self.depth, self.causal, self.length = depth, causal, length
        self.embedding = nn.Embedding(tokens, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        self.parameter_roles = {"places": "embedding"}
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(1 if shared else depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.embedding.weight, std=0.02)  # GPT-2's; a tied head would begin with huge logits at 1
        if tied:
            tie(self, "embedding.weight", "head.weight")

    def forward(self, tokens: Tensor) -> Tensor:
        steps = tokens.shape[-1]
        if steps > self.length:
            raise ArgumentError(f"`SmallTransformer.length` must be >= the sequence's; got {self.length} for {steps}.")
        x = self.embedding(tokens) + self.places[:steps]
        hidden = torch.ones(steps, steps, dtype=torch.bool, device=tokens.device).triu(1) if self.causal else None
        for number in range(self.depth):
            x = self.blocks[number % len(self.blocks)](x, hidden)
        return self.head(self.norm(x))  # type: ignore[no-any-return]  # nn.Module's call is untyped
