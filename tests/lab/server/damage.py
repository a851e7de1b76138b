"""Messages with damage, for tests that feed them to the parser and to the running server."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["mutated"]

RUN = "0123456789abcdef"
GOOD = [
    '{"op":"open","key":"poly","figure":"powers","of":[],"state":{"power":2.5,"log":true,"seed":3}}',
    f'{{"op":"open","key":"r-1","figure":"run-loss","of":["{RUN}","{RUN}"],"state":{{}}}}',
    '{"op":"set","key":"poly","id":17,"state":{"power":3,"log":false,"seed":0}}',
    '{"op":"play","key":"poly","id":18}',
    '{"op":"close","key":"poly"}',
]
PIECES = [
    '"', "{", "}", "[", "]", ":", ",", "\\", "0", "-", "e9", "1e400", "null", "true", "NaN", "Infinity", "\0", "\n",
    "é", "\u202e", "\ud800", "𝟙", '"op"', '"key"', '"__proto__":', "<script>", "../", "%00", " ", "9" * 30, "[" * 50,
    "{}",
]  # fmt: skip


def mutated(rng: random.Random) -> str:
    """Return a good message with some damage: parts cut, doubled, exchanged, or foreign pieces put in."""
    text = rng.choice(GOOD)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randrange(12))
        damage: list[Callable[[], str]] = [
            lambda s=start, e=end, t=text: t[:s] + t[e:],  # type: ignore[misc]
            lambda s=start, e=end, t=text: t[:e] + t[s:],  # type: ignore[misc]
            lambda s=start, t=text: t[:s] + rng.choice(PIECES) + t[s:],  # type: ignore[misc]
            lambda s=start, e=end, t=text: t[:s] + rng.choice(PIECES) + t[e:],  # type: ignore[misc]
            lambda s=start, t=text: t[:s] + rng.choice(GOOD)[s:],  # type: ignore[misc]
        ]
        text = rng.choice(damage)()
    return text
