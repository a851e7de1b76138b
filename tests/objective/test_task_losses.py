"""Losses of several tasks against torch's on the rows that have a label."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from poise.core.context import Batch
from poise.core.errors import ArgumentError
from poise.objective import TaskLosses

NAN = float("nan")
LOSSES = TaskLosses({"age": "numbers", "sex": "classes", "diet": "classes", "counts": "numbers"})


def outputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    return {"age": draw(5, 1), "sex": draw(5, 2), "diet": draw(5, 3), "counts": draw(5, 2)}


def targets() -> dict[str, Tensor]:
    diet = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1]] * 0.7 + 0.1
    diet[3] = NAN
    return {
        "age": torch.tensor([1.0, NAN, 3.0, NAN, 5.0], dtype=torch.float64),
        "sex": torch.tensor([0, -1, 1, 1, -1]),
        "diet": diet,
        "counts": torch.tensor([[1, 2], [NAN, 3], [1, NAN], [NAN, NAN], [4, 4]], dtype=torch.float64),
    }


def test_each_loss_is_torchs_over_the_rows_that_are_there() -> None:
    out, given = outputs(), targets()
    found = LOSSES(out, given)
    torch.testing.assert_close(found["age"], F.mse_loss(out["age"][[0, 2, 4], 0], given["age"][[0, 2, 4]]))
    torch.testing.assert_close(found["sex"], F.cross_entropy(out["sex"][[0, 2, 3]], given["sex"][[0, 2, 3]]))
    rows = [0, 1, 2, 4]
    torch.testing.assert_close(found["diet"], F.cross_entropy(out["diet"][rows], given["diet"][rows]))
    there = ~given["counts"].isnan()
    torch.testing.assert_close(found["counts"], F.mse_loss(out["counts"][there], given["counts"][there]))


def test_with_row_weights_it_is_the_weighted_mean_over_the_rows_that_are_there() -> None:
    out, given = outputs(), targets()
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    each = F.cross_entropy(out["sex"][[0, 2, 3]], given["sex"][[0, 2, 3]], reduction="none")
    expected = (each * weights[[0, 2, 3]]).sum() / weights[[0, 2, 3]].sum()
    torch.testing.assert_close(LOSSES(out, Batch(None, given, weights))["sex"], expected)


def test_missing_rows_send_no_gradient_and_others_a_finite_one() -> None:
    out = outputs()
    sum(LOSSES(out, targets()).values()).backward()  # type: ignore[union-attr]
    for task, rows in {"age": [1, 3], "sex": [1, 4], "diet": [3], "counts": [3]}.items():
        grad = out[task].grad
        assert grad is not None
        assert bool(torch.isfinite(grad).all())
        assert [i for i, row in enumerate(grad) if not row.any()] == rows


@pytest.mark.parametrize("task", ["age", "sex", "diet", "counts"])
def test_a_task_without_any_label_costs_exactly_nothing(task: str) -> None:
    out, given = outputs(), targets()
    given[task] = torch.full_like(given[task], NAN if given[task].is_floating_point() else -1)
    loss = LOSSES(out, given)[task]
    (grad,) = torch.autograd.grad(loss, out[task])
    assert float(loss.detach()) == 0.0
    assert not grad.any()


def test_each_member_of_a_population_has_its_own_missing_labels() -> None:
    out, first = {t: o.detach() for t, o in outputs().items()}, targets()
    second = {task: values.roll(1, 0) for task, values in first.items()}
    both = {task: torch.stack([first[task], second[task]]) for task in first}
    mapped = torch.vmap(lambda t: LOSSES(out, t))(both)
    for place, given in enumerate((first, second)):
        for task, loss in LOSSES(out, given).items():
            torch.testing.assert_close(mapped[task][place], loss, rtol=1e-12, atol=0)


def test_a_function_of_ones_own_gets_the_rows_and_its_missing_ones_are_left_out() -> None:
    rows = TaskLosses({"visits": lambda o, t: F.poisson_nll_loss(o[:, 0], t, reduction="none")})
    out, visits = torch.tensor([[0.3], [0.1], [2.0]], requires_grad=True), torch.tensor([2.0, NAN, 1.0])
    loss = rows({"visits": out}, {"visits": visits})["visits"]
    torch.testing.assert_close(loss, F.poisson_nll_loss(out[[0, 2], 0], visits[[0, 2]]))
    loss.backward()
    assert out.grad is not None
    assert float(out.grad[1]) == 0.0


def test_a_task_without_outputs_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`TaskLosses` must get outputs by task, of age, sex, .*; got age\. Fill"):
        LOSSES({"age": torch.zeros(5)}, targets())


def test_outputs_that_are_no_dict_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`TaskLosses` must get outputs by task, .*; got a Tensor\. Fill"):
        LOSSES(torch.zeros(5), targets())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "shape"), [("age", (5, 2)), ("sex", (5,)), ("diet", (5, 4)), ("counts", (5, 1))], ids=str
)
def test_outputs_of_another_shape_are_refused(task: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=rf"the task '{task}' must have .*; got .*\. Give its head as many outputs"):
        LOSSES(outputs() | {task: torch.zeros(shape, dtype=torch.float64)}, targets())


@pytest.mark.parametrize("kind", ["number", None, 3])
def test_a_kind_that_is_none_is_refused(kind: object) -> None:
    with pytest.raises(ArgumentError, match=r"`TaskLosses.kinds\['age'\]` must be 'numbers', 'classes' or a function"):
        TaskLosses({"age": kind})  # type: ignore[dict-item]


def test_no_task_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`TaskLosses.kinds` must name at least one task; got none"):
        TaskLosses({})
