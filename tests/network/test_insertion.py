"""Layers in a model that is trained elsewhere: inserted, listed, changed, saved, removed."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise import L2, BatchEnsemble, BatchNorm, Dropout, DropPath, HiddenNoise, Linear, ShakeDrop, WeightNoise
from poise.core.errors import ArgumentError, CheckpointError
from poise.core.kinds import Insertion, inserted_layers
from poise.core.rng import Rng, key
from poise.network import DropConnect
from poise.network.insertion import InsertedParts, insert
from poise.testing.residual_blocks import Dynamic, PreNorm
from poise.testing.residual_networks import OneBranch

pytestmark = pytest.mark.usefixtures("seeded")
PARTS: tuple[Insertion, ...] = (
    Dropout(0.5),
    Dropout(0.3, where="inputs", name="first"),
    Dropout(0.3, where="residual branches", name="branches"),
    DropPath(0.5),
    ShakeDrop(0.3),
    DropConnect(0.2),
    WeightNoise(0.1),
    HiddenNoise(0.1, where="outputs"),
)


def network() -> nn.Module:
    return nn.Sequential(OneBranch(5), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))


def x(rows: int = 20) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))


# --- what it draws -------------------------------------------------------------------------------------------------


def test_each_training_pass_draws_anew_and_each_pass_can_be_recomputed_from_its_number() -> None:
    model = nn.Sequential(nn.ReLU())
    insert(model, Dropout(0.5), seed=7)
    ones = torch.ones(4, 50)
    for number in range(3):
        kept = Rng(key(7, 0, number), "dropout/0/0").keep("keep", (4, 50), 0.5)
        assert torch.equal(model(ones), 2.0 * kept)


def test_evaluation_neither_draws_nor_moves_the_count() -> None:
    bare = network().eval()
    model = copy.deepcopy(bare)
    inserted = insert(model, Dropout(0.5), DropPath(0.5))
    assert torch.equal(model(x()), bare(x()))
    assert inserted.state_dict()["passes"] == 0


def test_schedules_read_the_number_of_training_passes() -> None:
    model = nn.Sequential(nn.ReLU())
    insert(model, Dropout(Linear(1.0, 0.0, 2)))
    ones = torch.ones(1000)
    shares = [float((model(ones) == 0).float().mean()) for _ in range(3)]
    assert shares[0] == 1.0
    assert shares[1] == pytest.approx(0.5, abs=0.06)
    assert shares[2] == 0.0


def test_a_strength_changes_mid_training() -> None:
    model = nn.Sequential(nn.ReLU())
    inserted = insert(model, Dropout(0.2))
    ones = torch.ones(1000)
    model(ones)
    inserted.set({"dropout.p": 1.0})
    assert torch.equal(model(ones), torch.zeros(1000))
    inserted.set({"dropout.p": 0.0})
    assert torch.equal(model(ones), ones)
    with pytest.raises(ArgumentError, match=r"`Dropout\.p` must be in \[0, 1\]; got 2"):
        inserted.set({"dropout.p": 2})
    with pytest.raises(ArgumentError, match=r"knows the dials dropout\.p; got 'drop\.p'"):
        inserted.set({"drop.p": 0.1})


# --- what it leaves behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [*PARTS, BatchNorm()], ids=lambda part: part.name)
def test_removed_the_model_is_exactly_what_it_was(part: Insertion, described: Any) -> None:
    bare = network()
    bare[2].register_forward_hook(print_nothing)
    before, expected = described(bare), bare(x())
    inserted = insert(bare, part)
    bare(x()).sum().backward()
    assert described(bare) != before
    assert inserted.remove() is bare
    assert described(bare) == before
    assert torch.equal(bare(x()), expected)


def print_nothing(*_: Any) -> None:
    """A hook of the user's, which must stay."""


def test_all_parts_together_leave_nothing_and_named_ones_leave_the_rest(described: Any) -> None:
    model = network()
    before = described(model)
    inserted = insert(model, *PARTS)
    model(x())
    inserted.remove("dropout", "weight_noise")
    assert {layer.part for _, layer in inserted_layers(model)} == {p.name for p in PARTS} - {"dropout", "weight_noise"}
    model(x())
    inserted.set({"drop_path.p": 0.1})
    inserted.remove()
    assert described(model) == before
    with pytest.raises(ArgumentError, match="got a model without any"):
        inserted.set({"drop_path.p": 0.1})


def test_a_state_dict_goes_both_ways_between_bare_and_inserted() -> None:
    bare, other = network(), network()
    model = copy.deepcopy(bare)
    insert(model, *PARTS)
    assert list(model.state_dict()) == list(bare.state_dict())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x()), bare(x()))
    model.load_state_dict(network().state_dict())


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deep", "pickle"]
)
def test_a_copy_draws_the_same_and_goes_its_own_way(copied: Any) -> None:
    model = network()
    inserted = insert(model, *PARTS, seed=3)
    model(x())
    twin = copied(model)
    assert torch.equal(model(x()), twin(x()))
    InsertedParts(twin).set({f"{name}.p": 0.0 for name in ("dropout", "first", "branches", "drop_path", "shake_drop")})
    assert not torch.equal(model(x()), twin(x()))
    InsertedParts(twin).remove()
    assert len(list(inserted_layers(model))) > len(list(inserted_layers(twin))) == 0
    assert repr(inserted).startswith("part")


def test_a_resume_from_the_saved_state_is_bit_equal() -> None:
    def losses(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
        found = []
        for _ in range(count):
            optimizer.zero_grad()
            loss = model(x()).square().mean()
            loss.backward()
            optimizer.step()
            found.append(float(loss.detach()))
        return found

    def begin() -> tuple[nn.Module, InsertedParts, torch.optim.Optimizer]:
        torch.manual_seed(2)
        model = network()
        return (
            model,
            insert(model, *PARTS[:-1], HiddenNoise(Linear(0.5, 0.0, 6)), seed=5),
            torch.optim.Adam(model.parameters()),
        )

    model, inserted, optimizer = begin()
    first = losses(model, optimizer, 3)
    inserted.set({"dropout.p": 0.7})
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict(), inserted.state_dict()), file)
    file.seek(0)
    rest = losses(model, optimizer, 3)
    twin, again, other = begin()
    for target, state in zip(
        (twin, other, again), [(s := torch.load(file, weights_only=True))[0], s[1], s[2]], strict=True
    ):
        target.load_state_dict(state)
    assert losses(twin, other, 3) == rest
    assert first != rest


@pytest.mark.parametrize("state", [{}, None, {"seed": 1, "passes": 2}])
def test_a_damaged_state_is_refused(state: Any) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        insert(network(), Dropout(0.2)).load_state_dict(state)


def test_the_state_of_other_parts_is_refused() -> None:
    state = insert(network(), Dropout(0.2)).state_dict()
    with pytest.raises(CheckpointError, match="of other parts"):
        insert(network(), Dropout(0.2, where="inputs")).load_state_dict(state)


def test_the_predict_stage_of_a_shared_ensemble_is_there_too() -> None:
    model = network()
    inserted = insert(model, BatchEnsemble(members=2))
    every = []
    for member in range(2):
        for _, layer in inserted_layers(model.eval()):
            layer.member = member  # type: ignore[assignment]  # a plain attribute
        every.append(model(x()).softmax(-1))
    predict = inserted.predictor(classes=2)
    torch.testing.assert_close(predict(x()).softmax(-1), torch.stack(every).mean(0))
    assert not predict.training


# --- what it says --------------------------------------------------------------------------------------------------


def test_the_listing_names_part_site_host_and_strength_and_what_was_not_read() -> None:
    model = nn.Sequential(OneBranch(4), PreNorm(), Dynamic())
    text = str(insert(model, DropPath(0.3), Dropout(0.25, where="inputs")))
    assert text.splitlines()[:5] == [
        "part       site         host                strength",
        "drop_path  0.branch     Sequential          p = 0.1",
        "drop_path  1.attention  MultiheadAttention  p = 0.2",
        "drop_path  1.down       Linear              p = 0.3",
        "dropout    (the model)  Sequential          p = 0.25",
    ]
    assert text.splitlines()[5].startswith("note: drop_path: 2 (Dynamic) could not be traced")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "must be at least one part; got none"),
        ((L2(0.1),), r"must be parts of the network stage; got L2\(.*\(objective\). Use `Recipe"),
        ((0.2,), "must be parts of the network stage; got 0.2"),
        ((Dropout(0.1), Dropout(0.2)), "must have distinct names"),
        ((Dropout(0.1, where="attention"),), "dropout goes after every attention and found none. Choose another rule"),
        ((Dropout(0.1), Dropout(0.1, where="attention", name="b")), "b goes after every attention and found none"),
    ],
)
def test_what_cannot_be_inserted_is_refused_and_leaves_the_model_alone(
    parts: Any, message: str, described: Any
) -> None:
    model = network()
    before = described(model)
    with pytest.raises(ArgumentError, match=message):
        insert(model, *parts)
    assert described(model) == before


@pytest.mark.parametrize("seed", [True, 1.0, "0", None])
def test_a_seed_is_an_int(seed: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`insert\.seed` must be an int; got"):
        insert(network(), Dropout(0.1), seed=seed)


def test_a_second_insertion_is_refused() -> None:
    model = network()
    insert(model, Dropout(0.1))
    with pytest.raises(ArgumentError, match="without inserted layers; got those of dropout"):
        insert(model, DropPath(0.1))


# --- torch.compile -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch._dynamo's own imports
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the compiler of torch 2.10
def test_inserted_then_compiled_it_trains_as_plain() -> None:
    torch._dynamo.reset()
    bare = network()
    outputs = []
    for compiled in (False, True):
        model = copy.deepcopy(bare)
        inserted = insert(model, Dropout(0.5), DropPath(0.5), WeightNoise(0.1), seed=2)
        call = torch.compile(model, backend="eager") if compiled else model
        rows = [call(x()) for _ in range(4)]
        inserted.set({"dropout.p": 0.9})
        rows.append(call(x()))
        rows[-1].sum().backward()
        outputs.append([*(row.detach() for row in rows), *(p.grad for p in model.parameters())])
    for plain, fast in zip(*outputs, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)
    assert not torch.equal(outputs[1][0], outputs[1][1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as above
def test_compiled_then_inserted_is_refused_because_torch_would_not_see_the_layers() -> None:
    compiled, in_place = torch.compile(network(), backend="eager"), network()
    in_place.compile(backend="eager")
    inner = nn.Sequential(torch.compile(nn.Sequential(nn.ReLU()), backend="eager"))
    for model in (compiled, in_place, inner):
        with pytest.raises(ArgumentError, match="Insert first, then compile"):
            insert(model, Dropout(0.5))
