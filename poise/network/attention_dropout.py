"""Attention dropout: attention weights switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.core.dial import dial
from poise.core.errors import ArgumentError
from poise.core.kinds import Inserted, Insertion
from poise.network.attach import child_name, child_of
from poise.network.dropout import DropoutLayer
from poise.network.sequence_sites import attention_weights

__all__ = ["AttentionDropout", "AttentionDropoutLayer", "DroppedAttention"]


class AttentionDropoutLayer(DropoutLayer):
    """Zeroes each attention weight with probability `p` while training; does nothing in evaluation."""

    def leave(self, host: nn.Module) -> None:
        if isinstance(host, DroppedAttention) and not any(isinstance(one, type(self)) for one in host.children()):
            host.__class__ = nn.MultiheadAttention  # type: ignore[assignment]  # what it was before


class DroppedAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention whose weights pass through its inserted layers.

    torch's own `dropout` is a number for the whole batch of members, drawn from a global generator, and a hook would
    cost nn.TransformerEncoderLayer its fast path in evaluation. So a host becomes an object of this class, as with
    torch's parametrizations, and is left to torch in evaluation. In training torch is asked for its output, which
    is kept at p = 0, and for its weights, which are dropped and applied to the values a second time.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        def plainly(need_weights: bool, average: bool) -> tuple[Tensor, Any]:
            return super(DroppedAttention, self).forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average, is_causal
            )

        layers = [layer for layer in self.children() if isinstance(layer, AttentionDropoutLayer) and not layer.idle]
        if not (self.training and layers):
            return plainly(need_weights, average_attn_weights)
        output, weights = plainly(True, False)
        if not need_weights:
            # Torch takes other kernels when it need not return weights: this is the output to the bit.
            output, _ = plainly(False, False)
        for layer in layers:
            weights = layer(weights)
        off = torch.stack([layer.p for layer in layers]).sum() == 0
        output = torch.where(off, output, self._applied(weights, value))
        if not need_weights:
            return output, None
        return output, weights.mean(-3) if average_attn_weights else weights

    def _applied(self, weights: Tensor, value: Tensor) -> Tensor:
        """Return the output for attention weights (B, heads, L, S), or (heads, L, S) of an unbatched sequence."""
        time_first = weights.dim() == 4 and not self.batch_first
        rows = value.transpose(0, 1) if time_first else value
        matrix = self.v_proj_weight if self.in_proj_weight is None else self.in_proj_weight[-self.embed_dim :]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[-self.embed_dim :]
        values = F.linear(rows, matrix, bias)
        if self.bias_v is not None:
            values = torch.cat([values, self.bias_v.reshape(1, -1).expand(*values.shape[:-2], 1, -1)], dim=-2)
        if self.add_zero_attn:
            values = F.pad(values, (0, 0, 0, 1))
        heads = values.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)
        mixed = (weights @ heads).transpose(-3, -2).flatten(-2)
        output = F.linear(mixed, self.out_proj.weight, self.out_proj.bias)
        return output.transpose(0, 1) if time_first else output


def _through(child: str, host: nn.Module, _: Any, output: Tensor) -> Tensor:
    """Forward hook of a softmax."""
    layer = child_of(host, child)
    result: Tensor = output if layer.idle else layer(output)
    return result


@dataclass(frozen=True)
class AttentionDropout(Insertion):
    """Switch off each attention weight with probability p at every training step, and scale the others.

    a' = a m / (1 - p) after the softmax, m ~ Bernoulli(1 - p) for each weight of each head and row: a query cannot
    rest on one key. Acts in nn.MultiheadAttention, so in nn.TransformerEncoderLayer and its kin too, and on a plain
    nn.Softmax that is used as attention (one behind which a weight layer follows). Evaluation is left to torch, fast
    path and all. Set torch's own dropout in attention to 0, or both act. Costs one mask; in training the attention
    is computed twice, without torch's fused kernel (plain softmax: one mask and two passes).

    Neutral: p = 0.
    Shapes: attention weights (B, heads, L, S); any shape behind an nn.Softmax.
    Units: p is the share of weights dropped, not the share kept; 0.1 is usual.
    Raises: ArgumentError if p is outside [0, 1], or the model has a subclass of
        nn.MultiheadAttention, whose forward may be another (when the layers are inserted, before any is).
    Source: the code of Vaswani et al. 2017, "Attention is all you need"; torch.nn.MultiheadAttention(dropout=p).

    >>> model = AttentionDropout(0.5).network(nn.MultiheadAttention(4, 2))
    >>> x = torch.zeros(8, 1, 4)
    >>> _, weights = model(x, x, x, average_attn_weights=False)
    >>> sorted(set(weights.flatten().tolist()))
    [0.0, 0.25]
    """

    rank: ClassVar[int] = 30
    formula: ClassVar[str] = "a' = a m / (1 - p), m ~ Bernoulli(1 - p), a the attention weights"
    cost: ClassVar[str] = "one mask, and the attention a second time"
    sites: ClassVar[str] = "the weights of every attention"

    p: float = dial(0.1, neutral=0.0, low=0.0, high=1.0, unit="share of attention weights", search=(0.0, 0.5))

    def find(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        return attention_weights(module)

    def network(self, module: nn.Module) -> nn.Module:
        for path, host in self.find(module):
            if isinstance(host, nn.MultiheadAttention) and type(host) not in (nn.MultiheadAttention, DroppedAttention):
                raise ArgumentError(
                    f"`AttentionDropout` must meet torch's own nn.MultiheadAttention; got {type(host).__name__} in "
                    f"{path!r}. Give that class an nn.Softmax module for its weights."
                )
        return super().network(module)

    def insert(self, host: nn.Module, layer: Inserted) -> None:
        if isinstance(host, nn.MultiheadAttention):
            host.__class__ = DroppedAttention
        else:
            host.register_forward_hook(partial(_through, child_name(self)))

    def layer(self, host: nn.Module) -> Inserted:
        return AttentionDropoutLayer(self)
