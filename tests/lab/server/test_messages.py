"""What a page may say: the schema, its limits, and ten thousand things that are not it."""

from __future__ import annotations

import json
import random

import pytest
from damage import mutated

from poise.lab.server.limits import MESSAGE_BYTES, MESSAGE_DEPTH
from poise.lab.server.messages import Act, Close, Message, MessageError, Open, Set, parsed

RUN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"op":"open","key":"a","figure":"poly","of":[],"state":{}}', Open("a", "poly", (), {})),
        (
            f'{{"op":"open","key":"a","figure":"run-loss","of":["{RUN}"],"state":{{}}}}',
            Open("a", "run-loss", (RUN,), {}),
        ),
        (
            '{"op":"set","key":"a","id":7,"state":{"x":1,"y":0.5,"z":true,"w":"ridge"}}',
            Set("a", 7, {"x": 1, "y": 0.5, "z": True, "w": "ridge"}),
        ),
        ('{"op":"play","key":"a","id":1}', Act("a", 1, "play")),
        ('{"op":"pause","key":"a","id":1}', Act("a", 1, "pause")),
        ('{"op":"step","key":"a","id":1}', Act("a", 1, "step")),
        ('{"op":"reset","key":"a","id":1}', Act("a", 1, "reset")),
        ('{"op":"close","key":"a"}', Close("a")),
    ],
)
def test_a_message_is_read(text: str, message: Message) -> None:
    assert parsed(text) == message


def of_set(state: str, id: str = "1") -> str:
    return f'{{"op":"set","key":"a","id":{id},"state":{state}}}'


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "1", '"open"', "[]", "{}", '{"op":1}', '{"op":"open"}', '{"op":"delete","key":"a"}', "{",
        '{"op":"close","key":"a","key":"b"}', '{"op":"close","key":"a"} ', '{"op":"close","key":"a"}x',
        '{"op":"close","key":"A"}', '{"op":"close","key":""}', '{"op":"close","key":"a b"}', '{"op":"close","key":1}',
        '{"op":"close","key":"../a"}', '{"op":"close","key":"a\\n"}', '{"op":"close","key":null}',
        '{"op":"close","key":"' + "a" * 65 + '"}', '{"op":"close","key":"a","id":1}',
        '{"op":"open","key":"a","figure":"../poly","of":[],"state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":"x","state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":["/etc/passwd"],"state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":["../runs"],"state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":[1],"state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":["short"],"state":{}}',
        '{"op":"open","key":"a","figure":"poly","of":' + json.dumps([RUN] * 9) + ',"state":{}}',
        of_set("[]"), of_set("null"), of_set('{"x":null}'), of_set('{"x":[]}'), of_set('{"x":{}}'), of_set('{"x":NaN}'),
        of_set('{"x":Infinity}'), of_set('{"x":-Infinity}'), of_set('{"x":1e999}'), of_set('{"x":' + "9" * 400 + "}"),
        of_set('{"x":9007199254740993}'), of_set('{"x":1,"x":2}'), of_set('{"x y":1}'), of_set('{"":1}'),
        of_set('{"x":"' + "a" * 257 + '"}'), of_set('{"x":"a\\u0000b"}'), of_set('{"__class__.x":1}'),
        of_set(json.dumps({f"c{number}": 1 for number in range(65)})),
        of_set("{}", "-1"), of_set("{}", "1.0"), of_set("{}", "true"), of_set("{}", "null"), of_set("{}", '"1"'),
        of_set("{}", "9007199254740993"), of_set("{}", "1" * 5000),
        of_set("[" * MESSAGE_DEPTH + "]" * MESSAGE_DEPTH), "[" * 60_000, "[" * 30_000 + "]" * 30_000,
        '{"a":' * 9000 + "1" + "}" * 9000, of_set('{"x":"' + "a" * MESSAGE_BYTES + '"}'), "\ud800", "\ufeff{}",
    ],
)  # fmt: skip
def test_all_else_is_refused(text: str) -> None:
    # One trailing blank is still JSON.
    if text.endswith("} "):
        assert parsed(text) == Close("a")
        return
    with pytest.raises(MessageError):
        parsed(text)


def test_brackets_in_a_text_are_no_nesting() -> None:
    text = of_set(json.dumps({"x": '[{"' * 20}))
    assert parsed(text) == Set("a", 1, {"x": '[{"' * 20})


# ---- damaged messages ----


def test_damaged_messages_are_read_or_refused_and_never_anything_else() -> None:
    rng, read = random.Random(0), 0
    for _ in range(10_000):
        try:
            message = parsed(mutated(rng))
        except MessageError:
            continue
        read += 1
        assert isinstance(message, Message)
    assert 200 < read < 5000  # some damage does none, as inside a key: the others must have been seen
