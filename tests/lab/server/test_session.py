"""The conversation with a page: frames are the figure's own, the newest state wins, runs play, failures have words."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from client import Client
from sample_shelf import Counting, Powers

from poise.lab.server.lab import Lab
from poise.lab.server.limits import OPEN_FIGURES, STREAMS
from poise.lab.server.run import FULL
from poise.lab.server.serve import running


def test_the_first_frame_is_the_figures_own(client: Client) -> None:
    figure = Powers()
    state = figure.checked({"power": 3})
    with client.talk() as talk:
        assert talk.open("a", "powers", {"power": 3}) == figure.message(state, figure.compute(state))


def test_each_patch_leads_to_the_figures_own_frame(client: Client) -> None:
    figure = Powers()
    with client.talk() as talk:
        talk.open("a", "powers")
        for id, power in enumerate([0.5, 2.0, 2.5, 8, 0.5], start=1):
            assert talk.set("a", id, power=power)["id"] == id
            state = figure.checked({"power": power})
            assert talk.frames["a"] == figure.message(state, figure.compute(state))


def test_the_newest_of_many_states_is_shown_and_answered(client: Client) -> None:
    figure = Powers()
    with client.talk() as talk:
        talk.open("a", "powers")
        for id in range(1, 61):
            talk.say(op="set", key="a", id=id, state={"power": 8 * id / 60, "seed": id})
        answers = 0
        while talk.hear()["id"] != 60:
            answers += 1
        assert answers < 60
        state = figure.checked({"power": 8, "seed": 60})
        assert talk.frames["a"] == figure.message(state, figure.compute(state))


def test_a_state_sent_during_a_long_computation_is_not_kept_waiting_for_it(client: Client) -> None:
    with client.talk() as talk:
        talk.open("a", "trouble")
        talk.say(op="set", key="a", id=1, state={"sleeps": 9})
        talk.say(op="open", key="b", figure="trouble", of=[], state={"sleeps": 0.5})
        talk.until("b", "patch")  # half a second later
        assert talk.set("a", 2)["id"] == 2
        assert "patch" in talk.set("a", 3)


def test_two_pages_do_not_hear_each_other(client: Client) -> None:
    with client.talk() as one, client.talk() as other:
        one.open("a", "powers", {"power": 1})
        assert other.open("a", "powers", {"power": 7})["numbers"][0]["value"] == 2.0**7
        one.set("a", 1, power=3)
        assert other.set("a", 1, power=6)["id"] == 1
        assert one.frames["a"]["numbers"][0]["value"] == 2.0**3


def test_a_key_that_is_opened_again_starts_anew(client: Client) -> None:
    with client.talk() as talk:
        talk.open("a", "powers")
        talk.say(op="open", key="a", figure="counting", of=[], state={})
        assert "$set" in talk.until("a", "patch")["patch"]


def test_what_is_said_of_a_closed_figure_is_passed_over(client: Client) -> None:
    with client.talk() as talk:
        talk.open("a", "powers")
        talk.say(op="close", key="a")
        talk.say(op="set", key="a", id=1, state={})
        talk.say(op="play", key="a", id=2)
        talk.open("b", "powers")
        assert talk.set("b", 1)["key"] == "b"


# ---- runs ----


def test_a_run_that_is_played_shows_each_frame_and_ends(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting", {"end": 6})
        talk.say(op="play", key="c", id=4)
        assert talk.hear() == {"key": "c", "id": 4, "playing": True, "done": False}
        counts = []
        while "patch" in (message := talk.hear()):
            assert message["id"] == 4
            counts.append(talk.frames["c"]["numbers"][0]["value"])
        assert message == {"key": "c", "id": 4, "playing": False, "done": True}
        assert counts == [1, 2, 3, 4, 5, 6]
        state = Counting().checked({"end": 6})
        assert talk.frames["c"] == Counting().message(state, Counting().compute(state))


def test_a_step_shows_one_frame(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting")
        for step in (1, 2, 3):
            talk.say(op="step", key="c", id=step)
            talk.until("c", "patch", step)
            assert talk.frames["c"]["numbers"][0]["value"] == step


def test_a_paused_run_goes_on_where_it_was(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting")
        talk.say(op="play", key="c", id=1)
        talk.until("c", "patch", 1)
        talk.say(op="pause", key="c", id=2)
        while talk.until("c", "playing")["playing"]:
            pass
        talk.say(op="step", key="c", id=3)
        talk.until("c", "patch", 3)
        reached = talk.frames["c"]["numbers"][0]["value"]
        talk.say(op="step", key="c", id=4)
        talk.until("c", "patch", 4)
        assert talk.frames["c"]["numbers"][0]["value"] == reached + 1 > 2


def test_a_reset_run_shows_the_frame_at_rest(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting")
        talk.say(op="step", key="c", id=1)
        talk.until("c", "patch", 1)
        talk.say(op="reset", key="c", id=2)
        talk.until("c", "patch", 2)
        assert talk.frames["c"]["numbers"][0]["value"] == 40


def test_a_state_set_while_a_run_plays_starts_it_anew(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting", {"end": 400})
        talk.say(op="play", key="c", id=1)
        talk.until("c", "patch", 1)
        talk.say(op="set", key="c", id=2, state={"end": 3})
        while not talk.until("c", "playing")["done"]:
            pass
        assert talk.frames["c"]["numbers"][0]["value"] == 3


def test_a_second_run_of_a_page_ends_its_first(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting", {"end": 400})
        talk.open("d", "counting", {"end": 2})
        talk.say(op="play", key="c", id=1)
        talk.until("c", "patch", 1)
        talk.say(op="play", key="d", id=1)
        while talk.until("c", "playing")["playing"]:
            pass
        while not talk.until("d", "playing")["done"]:
            pass


def test_sliders_answer_while_a_run_plays(client: Client) -> None:
    with client.talk() as talk:
        talk.open("c", "counting", {"end": 400})
        talk.open("a", "powers")
        talk.say(op="play", key="c", id=1)
        talk.until("c", "patch", 1)
        for id in range(1, 6):
            assert talk.set("a", id, power=id, seed=1)["id"] == id
        talk.say(op="pause", key="c", id=2)
        assert talk.until("c", "playing", 2)["done"] is False


def test_a_run_that_finds_no_place_says_so_and_plays_when_there_is_one(client: Client) -> None:
    with ExitStack() as stack:
        first = [stack.enter_context(client.talk()) for _ in range(STREAMS)]
        for talk in first:
            talk.open("c", "counting", {"end": 400})
            talk.say(op="play", key="c", id=1)
            talk.until("c", "patch", 1)
        with client.talk() as late:
            late.open("c", "counting", {"end": 2})
            late.say(op="play", key="c", id=1)
            assert late.until("c", "error")["error"] == FULL
            first[0].connection.close()
            while not late.until("c", "playing")["done"]:
                pass
            assert late.frames["c"]["numbers"][0]["value"] == 2


# ---- runs that are still written ----


def test_a_log_that_grows_is_drawn_anew_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "loop.jsonl"
    log.write_text('{"step": 1, "train_loss": 2.0, "val_loss": 3.0}\n', encoding="utf-8")
    with running(Lab([str(tmp_path)], source="sample_shelf")) as server:
        client = Client(server)
        (id,) = re.findall(r'href="/runs/([a-z0-9]+)"', client.get("/runs").text)
        with client.talk() as talk:
            talk.open("l", "run-loss", of=(id,))
            with log.open("a", encoding="utf-8") as file:
                file.write('{"step": 2, "train_loss": 1.0, "val_loss": 0.125}\n')
            assert talk.hear()["id"] == 0
            assert "0.125" in talk.frames["l"]["sentence"]
            with pytest.raises(TimeoutError):  # and nothing is said while nothing changes
                talk.hear(2.5)


# ---- failures ----


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"power": 9}, "`power` must be a number in [0, 8]; got 9. Move the slider."),
        ({"nothing": 1}, "`powers` has no control 'nothing'. It has ['log', 'power', 'seed']."),
        ({"log": 1}, "`log` must be true or false; got 1. Use the switch."),
    ],
)
def test_an_illegal_value_is_told_and_the_figure_lives_on(client: Client, state: dict[str, object], words: str) -> None:
    with client.talk() as talk:
        talk.open("a", "powers")
        assert talk.set("a", 1, **state) == {"key": "a", "id": 1, "error": words}
        assert "patch" in talk.set("a", 2, power=5)


def test_a_figure_that_is_not_there_is_told(client: Client) -> None:
    with client.talk() as talk:
        talk.say(op="open", key="a", figure="nowhere", of=[], state={})
        assert talk.hear()["error"].startswith("there is no figure 'nowhere'")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"raises": True}, "The figure failed: RuntimeError: '<script>on purpose</script>'."),
        ({"eats": True}, "This needs more than 1024 MiB of memory. Choose smaller values."),
        ({"dies": True}, "The computation ended before it was done. Choose other values."),
    ],
)
def test_a_failure_is_told_and_the_figure_lives_on(client: Client, state: dict[str, bool], words: str) -> None:
    with client.talk() as talk:
        talk.open("a", "trouble")
        assert talk.set("a", 1, **state) == {"key": "a", "id": 1, "error": words}
        assert "patch" in talk.set("a", 2)


def test_figures_are_computed_in_other_processes(client: Client) -> None:
    with client.talk() as talk:
        assert talk.open("a", "trouble")["numbers"][0]["value"] != os.getpid()


def test_more_open_figures_than_any_page_has_close_the_connection(client: Client) -> None:
    with client.talk() as talk:
        for number in range(OPEN_FIGURES + 1):
            talk.say(op="open", key=f"k{number}", figure="powers", of=[], state={})
        assert talk.closed() == 1008


@pytest.mark.parametrize("text", ["", "nothing", "[]", "{}", '{"op":"open"}', '{"op":"close","key":"a","more":1}'])
def test_a_message_that_is_none_closes_the_connection(client: Client, text: str) -> None:
    with client.talk() as talk:
        talk.connection.send(text)
        assert talk.closed() == 1008


def test_a_binary_message_closes_the_connection(client: Client) -> None:
    with client.talk() as talk:
        talk.connection.send(b'{"op":"close","key":"a"}')
        assert talk.closed() == 1008
