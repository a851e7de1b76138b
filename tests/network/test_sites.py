"""Sites are found by the type of the module, each once."""

import pytest
from torch import nn

from poise.core.errors import ArgumentError
from poise.network import BatchNorm, Dropout
from poise.network.sites import activations, hidden_layers, weight_layers


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Sequential(nn.Linear(8, 8), nn.SiLU()), nn.Linear(8, 2), nn.Softmax(-1)
    )


def test_activations_are_elementwise_and_include_subclasses() -> None:
    assert [path for path, _ in activations(network())] == ["1", "2.1"]


def test_weight_layers_are_linear_and_convolutions() -> None:
    assert [path for path, _ in weight_layers(network())] == ["0", "2.0", "3"]


def test_hidden_layers_leave_out_the_last() -> None:
    assert [path for path, _ in hidden_layers(network())] == ["0", "2.0"]


def test_a_reused_activation_is_one_site() -> None:
    relu = nn.ReLU()
    assert len(activations(nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu))) == 1


def test_the_projection_inside_attention_is_no_site_because_torch_never_calls_it() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16)
    assert [path for path, _ in weight_layers(encoder)] == ["linear1", "linear2"]


def test_a_parametrized_weight_is_no_site() -> None:
    assert weight_layers(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))) == []


def test_an_inserted_layer_is_no_site_of_another() -> None:
    model = BatchNorm().network(network())
    assert [path for path, _ in weight_layers(model)] == ["0", "2.0", "3"]


def test_inserting_a_part_twice_is_refused() -> None:
    model = Dropout(0.5).network(network())
    with pytest.raises(ArgumentError, match="Insert a recipe once"):
        Dropout(0.1).network(model)
    Dropout(0.1, name="second").network(model)


def test_inserted_layers_take_the_mode_of_their_hosts() -> None:
    model = Dropout(0.5).network(network().eval())
    assert not any(module.training for module in model.modules())
