"""A recurrence whose weights are not shared: each time step has its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poise.core.errors import ArgumentError, shown
from poise.models.sizes import check_sizes

__all__ = ["UntiedRnn"]


class UntiedRnn(nn.Module):
    """A simple recurrence with weights of its own at each of `steps` time steps.

    h_t = tanh(W_t x_t + b_t + U_t h_{t-1} + c_t), h_0 = 0: nn.RNN without its sharing over time. It has `steps` times
    as many parameters, knows no longer sequences, and learns nothing at one step of what it saw at another: to show
    what sharing is worth, not for use.

    Shapes: (B, T, inputs), T <= steps -> the states (B, T, hidden), and the last one (1, B, hidden); weights (steps,
        hidden, inputs) and (steps, hidden, hidden), biases (steps, hidden).
    Raises: ArgumentError for sizes < 1; at a call, for longer sequences.
    Source: Goodfellow, Bengio, Courville 2016, "Deep Learning", section 10.2, whose recurrence this undoes.

    >>> tied = nn.RNN(2, 3, batch_first=True)
    >>> x = torch.ones(4, 5, 2)
    >>> bool(torch.allclose(UntiedRnn.from_rnn(tied, steps=5)(x)[0], tied(x)[0], atol=1e-6))
    True
    """

    def __init__(self, inputs: int, hidden: int, steps: int) -> None:
        super().__init__()
        check_sizes("UntiedRnn", inputs=inputs, hidden=hidden, steps=steps)
        self.steps = steps

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(steps, *shape).uniform_(-(hidden**-0.5), hidden**-0.5))

        self.weight_ih, self.weight_hh = uniform(hidden, inputs), uniform(hidden, hidden)
        self.bias_ih, self.bias_hh = uniform(hidden), uniform(hidden)
        self.parameter_roles = {"bias_ih": "bias", "bias_hh": "bias"}  # two-dimensional, but no weights

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] > self.steps:
            raise ArgumentError(f"`UntiedRnn.steps` must be >= the sequence's; got {self.steps} for {x.shape[1]}.")
        state = x.new_zeros(x.shape[0], self.weight_hh.shape[-1])
        states = []
        for step, entering in enumerate(x.unbind(1)):
            from_input = nn.functional.linear(entering, self.weight_ih[step], self.bias_ih[step])
            state = torch.tanh(from_input + nn.functional.linear(state, self.weight_hh[step], self.bias_hh[step]))
            states.append(state)
        return torch.stack(states, 1), state[None]

    @classmethod
    def from_rnn(cls, rnn: nn.RNN, steps: int) -> UntiedRnn:
        """Return the recurrence with a copy of the RNN's weights at each step: the same outputs, to rounding.

        Raises: ArgumentError unless it is nn.RNN(inputs, hidden, batch_first=True), with tanh, biases and one layer.
        """
        plain = type(rnn) is nn.RNN and rnn.num_layers == 1 and not (rnn.bidirectional or rnn.proj_size)
        if not (plain and rnn.batch_first and rnn.bias and rnn.nonlinearity == "tanh"):
            raise ArgumentError(
                f"`UntiedRnn.from_rnn.rnn` must be an nn.RNN(inputs, hidden, batch_first=True); got {shown(rnn)}."
            )
        own = cls(rnn.input_size, rnn.hidden_size, steps)
        with torch.no_grad():
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                weight = getattr(rnn, f"{name}_l0")
                setattr(own, name, nn.Parameter(weight.expand(steps, *weight.shape).clone()))
        return own
