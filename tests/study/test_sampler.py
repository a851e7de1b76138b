"""Proposals: the given ones first, few rare parts at once, learning, the same again, and time that stays bounded."""

import math
import statistics

import optuna
import pytest

from poise.study.result import Trial
from poise.study.sampler import WINDOW, Sampler
from poise.study.space import Config, Space

RARE = {"hidden_noise", "input_noise", "swap_noise", "cut_mix", "l1", "clip_norm"}
SPACE = Space(["dropout", "patience"])


def told(config: Config, score: float) -> Trial:
    return Trial(config.number, config.dials, 0, 1, 0.0, score, "finished" if math.isfinite(score) else "diverged")


def loss(config: Config) -> float:
    """Lowest for a learning rate of 2e-3 without dropout."""
    return math.log(config.lr / 2e-3) ** 2 + config.dials["dropout.p"]


def run(waves: int, width: int = 8) -> list[Config]:
    sampler, found = Sampler(SPACE, 3), []
    for wave in range(waves):
        configs = sampler.propose(wave * width, width, [])
        sampler.tell([told(config, loss(config)) for config in configs])
        found += configs
    return found


def test_what_is_given_comes_first_and_a_bracket_has_few_rare_parts() -> None:
    space = Space()
    first = space.portfolio(0)[:2]
    found = Sampler(space, 0).propose(0, 3, first)
    assert [(config.dials, config.lr) for config in found[:2]] == [(config.dials, config.lr) for config in first]
    found = Sampler(space, 0).propose(16, 12, [])
    assert len({name for config in found for name in config.on} & RARE) <= 2
    assert [config.number for config in found] == list(range(16, 28))


def test_proposals_move_to_where_losses_were_low() -> None:
    losses = [loss(config) for config in run(12)]
    assert statistics.median(losses[-64:]) < 0.5 * statistics.median(losses[:16])


def test_optuna_says_nothing_here_and_what_the_user_wants_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        run(3)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr().err == ""


def test_the_same_losses_give_the_same_proposals() -> None:
    assert run(4) == run(4)


def test_what_diverged_and_what_is_out_is_no_obstacle() -> None:
    sampler = Sampler(SPACE, 0)
    first, second = sampler.propose(0, 4, []), sampler.propose(4, 4, [])
    sampler.tell([told(config, math.inf) for config in first])
    sampler.tell([told(config, loss(config)) for config in second])
    assert len(sampler.propose(8, 4, [])) == 4


def test_the_model_learns_from_a_bounded_number_of_trials_the_best_among_them() -> None:
    sampler = Sampler(SPACE, 0)
    for wave in range(12):
        configs = sampler.propose(wave * 16, 16, [])
        sampler.tell([told(config, float(config.number)) for config in configs])
    out = sampler.propose(192, 3, [])
    learned = sampler.history()
    values = [trial.value for trial in learned if trial.value is not None]
    assert [trial.params["lr"] for trial in learned if trial.value is None] == [config.lr for config in out]
    assert sorted(values) == [*map(float, range(WINDOW)), *map(float, range(192 - WINDOW, 192))]
