"""Weight tying: one parameter under several names."""

from __future__ import annotations

from torch import nn

from poise.core.errors import ArgumentError

__all__ = ["tie"]


def tie(model: nn.Module, source: str, *others: str) -> nn.Module:
    """Make the parameters named `others` the very parameter named `source`; the model is changed and returned.

    Its gradient is then the sum of the gradients of all uses. It is one parameter: `model.parameters()` gives it
    once, so that optimizers step it once, and regularizers decay and penalise it once, in the role of its first name
    (an embedding that is also a head is an embedding). Tie before the optimizer is made. Copies, pickles and a
    state_dict that is loaded into a tied model keep the tie; `load_state_dict(..., assign=True)` unties: tie again.

    Shapes: all parameters have the shape of the source.
    Raises: ArgumentError if there is no such parameter, or its shape is another.
    Source: Press and Wolf 2017, "Using the output embedding to improve language models"; Inan, Khosravi, Socher 2017,
        "Tying word vectors and word classifiers".

    >>> model = nn.ModuleDict({"words": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    >>> sum(p.numel() for p in tie(model, "words.weight", "head.weight").parameters())
    400
    """
    parameter = _found(model, source)
    for name in others:
        if _found(model, name).shape != parameter.shape:
            raise ArgumentError(
                f"`tie.others` must have the shape of {source}, {tuple(parameter.shape)}; got {name} of "
                f"{tuple(_found(model, name).shape)}. nn.Linear(in, out) holds its weight as (out, in)."
            )
    for name in others:
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, parameter)
    return model


def _found(model: nn.Module, name: str) -> nn.Parameter:
    try:
        return model.get_parameter(name)
    except AttributeError:
        known = ", ".join(own for own, _ in model.named_parameters(remove_duplicate=False))
        raise ArgumentError(f"`tie` must name parameters of the model; got {name!r}. It has {known}.") from None
