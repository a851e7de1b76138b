"""How an ensemble reads a text, and what it writes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from poise.core.errors import ArgumentError
from poise.core.recipe import Recipe
from poise.data.characters import START, CharacterEncoder
from poise.study.metrics import METRICS, bootstrap, measure
from poise.study.readings import Readings
from poise.study.text_network import TextDesign, TextNetwork
from poise.study.text_scores import read_windows, text_frame, write_text
from poise.train.losses import CrossEntropy
from poise.train.population import Population
from poise.train.stack import Stack

ENCODER = CharacterEncoder("ab cd", 5)
SHARES = torch.tensor([0.25, 0.75])
TEXT = "a bad cab add a dab"  # 19 characters: three windows of five and one of four


@pytest.fixture(scope="module")
def stack() -> Stack:
    def build() -> torch.nn.Module:
        module = TextDesign(width=8).build(ENCODER, 1, None)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(4)  # so that predictions are far from even
        return module

    return Population(build, Recipe(), CrossEntropy(), lr=[1e-3, 1e-3], classes=ENCODER.size).stack()


def chances(stack: Stack, codes: list[int]) -> np.ndarray:
    """The mean of the networks' probabilities of the last code's place, in float64, one network after another."""
    found = np.zeros(ENCODER.size)
    for place, share in enumerate(SHARES.tolist()):
        module = stack.network(place)
        assert isinstance(module, TextNetwork)
        module.logits = True
        with torch.no_grad():
            logits = module.double()(torch.tensor([codes]))[0, -1].numpy()
        found += share * np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return found


def test_an_ensemble_reads_a_text_as_the_mean_of_its_networks_character_by_character(stack: Stack) -> None:
    inputs = ENCODER.transform(TEXT)
    found = read_windows(stack, SHARES, inputs)
    assert found.counts.tolist() == [5, 5, 5, 4]
    for row, codes in enumerate(inputs.tolist()):
        losses, right = [], []
        for place in range(1, 6):
            if codes[place] != START:
                mean = chances(stack, codes[: place + 1])
                losses.append(-math.log(mean[codes[place]]))
                right.append(mean.argmax() == codes[place])
        assert found.losses[row] == pytest.approx(np.mean(losses), rel=1e-5)
        assert found.right[row] == pytest.approx(np.mean(right))


def test_the_frame_has_a_row_a_window_in_nats_and_bits(stack: Stack) -> None:
    frame = text_frame(stack, SHARES, ENCODER.transform(TEXT))
    assert list(frame) == ["characters", "cross-entropy", "bits per character", "accuracy"]
    assert frame["characters"].tolist() == [5, 5, 5, 4]
    np.testing.assert_allclose(frame["bits per character"] * math.log(2), frame["cross-entropy"], rtol=1e-12)


def test_metrics_are_means_over_characters_and_perplexity_is_the_exponential_of_theirs() -> None:
    found = Readings(np.array([1.0, 3.0]), np.array([0.5, 0.25]), np.array([4.0, 2.0]))
    nats = (4 * 1.0 + 2 * 3.0) / 6
    expected = {"cross_entropy": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats), "accuracy": 2.5 / 6}
    assert {metric.name: measure(metric.name, found) for metric in METRICS["text"]} == pytest.approx(expected)
    interval, values = bootstrap("cross_entropy", found)
    assert interval.low == pytest.approx(1.0)
    assert interval.high == pytest.approx(3.0)
    assert set(np.unique(values.round(9))) == {1.0, round(nats, 9), 3.0}  # windows are drawn, not characters


# ---- what it writes ----


def test_characters_are_drawn_as_often_as_the_networks_expect_them(stack: Stack) -> None:
    mean = chances(stack, [START, *ENCODER.encode("a b").tolist(), 0])
    mean[:2] = 0
    expected = mean / mean.sum()
    drawn = [write_text(stack, SHARES, ENCODER, "a b", 1, seed=seed, temperature=1.0) for seed in range(400)]
    shares = np.array([0.0, 0.0, *(drawn.count(letter) / 400 for letter in ENCODER.symbols)])
    allowed = 4 * np.sqrt(expected * (1 - expected) / 400) + 1e-9
    assert (np.abs(shares - expected) <= allowed).all()
    even = np.array([0, 0, *[1 / 5] * 5])
    assert (np.abs(even - expected) > allowed).any()  # a sampler that does not look at the networks would be caught


def test_a_low_temperature_writes_what_is_most_probable_and_reads_one_window_back(stack: Stack) -> None:
    prompt = "dad a cab a"
    written = write_text(stack, SHARES, ENCODER, prompt, 12, seed=0, temperature=1e-4)
    text = prompt
    for _ in range(12):
        mean = chances(stack, [START, *ENCODER.encode(text).tolist()[-4:], 0])
        text += ENCODER.symbols[int(mean[2:].argmax())]
    assert written == text[len(prompt) :]


def test_the_same_seed_writes_the_same_and_no_unknown_character(stack: Stack) -> None:
    first, second, third = (
        write_text(stack, SHARES, ENCODER, "?", 30, seed=seed, temperature=2.0) for seed in (1, 1, 2)
    )
    assert first == second != third
    assert len(first) == 30
    assert set(first) <= set(ENCODER.symbols)


def test_wrong_arguments_of_a_sample_are_refused(stack: Stack) -> None:
    with pytest.raises(ArgumentError, match=r"`StudyModel.sample.characters` must be an int >= 1; got 0"):
        write_text(stack, SHARES, ENCODER, "", 0, seed=0, temperature=1.0)
    for temperature in (0.0, math.inf, True):
        with pytest.raises(ArgumentError, match=r"`StudyModel.sample.temperature` must be a finite number > 0"):
            write_text(stack, SHARES, ENCODER, "", 1, seed=0, temperature=temperature)


def test_reading_does_not_change_the_networks_answer_in_evaluation(stack: Stack) -> None:
    inputs = torch.from_numpy(ENCODER.transform(TEXT[:15]))
    before = stack.outputs(inputs)
    read_windows(stack, SHARES, inputs.numpy())
    assert before.shape == (2, 3, 5, 1)
    assert torch.equal(stack.outputs(inputs), before)
