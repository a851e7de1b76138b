"""What a figure shows, as data: panels of marks. Python fills them with numbers; the page only draws them.

Every colour has a role, never a value: `train` is what was fitted, `valid` what it was not fitted to, `truth` the
dashed ink of what is true or where training stops, `zero` what is switched off, `plain` everything else. The page
adds dashes and markers, so that nothing is told by colour alone. `web/src/scene.ts` mirrors these records.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

__all__ = [
    "Axis",
    "Band",
    "Bars",
    "Dots",
    "Frame",
    "Heat",
    "Images",
    "Intervals",
    "Line",
    "Network",
    "Node",
    "Note",
    "Number",
    "Numbers",
    "Panel",
    "Parallel",
    "Plot",
    "Press",
    "Role",
    "Rule",
    "Shape",
    "Table",
    "Tile",
    "plain",
    "tile_of",
]

Role = Literal["train", "valid", "truth", "zero", "plain"]
"""What a colour means; see above."""

Floats = Sequence[float]
DIGITS = 6  # significant digits of a drawn coordinate; a pixel is a thousandth of a panel


@dataclass(frozen=True)
class Axis:
    """One axis. `low` and `high` fix its ends (else the data do); `ticks` are (place, text), for categories."""

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Line:
    """A polyline through (x, y); a NaN breaks it. Labelled at its end."""

    kind: ClassVar[str] = "line"
    label: str
    x: Floats
    y: Floats
    role: Role = "train"
    dashed: bool = False
    thin: bool = False
    closed: bool = False


@dataclass(frozen=True)
class Dots:
    """Markers at (x, y); `marker` tells series apart where colours do not."""

    kind: ClassVar[str] = "dots"
    label: str
    x: Floats
    y: Floats
    role: Role = "valid"
    marker: Literal["dot", "ring", "cross", "square", "diamond"] = "dot"


@dataclass(frozen=True)
class Band:
    """The area between `low` and `high` over x."""

    kind: ClassVar[str] = "band"
    label: str
    x: Floats
    low: Floats
    high: Floats
    role: Role = "train"


@dataclass(frozen=True)
class Rule:
    """A straight line across the whole panel at `x` (vertical) or `y` (horizontal), with its label."""

    kind: ClassVar[str] = "rule"
    label: str
    x: float | None = None
    y: float | None = None
    role: Role = "truth"
    dashed: bool = True


@dataclass(frozen=True)
class Bars:
    """Bars from `base` to `value` at places `at`; `crossed` ones are grey and crossed out (exactly zero, dropped).

    `width` is in units of the axis of `at`. `sideways` bars grow along x.
    """

    kind: ClassVar[str] = "bars"
    label: str
    at: Floats
    value: Floats
    role: Role = "train"
    base: float = 0.0
    width: float = 0.8
    crossed: Sequence[bool] = ()
    sideways: bool = False


@dataclass(frozen=True)
class Intervals:
    """Mean and confidence interval of several things at places `at`, each repetition as a small dot in `points`."""

    kind: ClassVar[str] = "intervals"
    label: str
    at: Floats
    middle: Floats
    low: Floats
    high: Floats
    points: Sequence[Floats] = ()
    role: Role = "train"
    sideways: bool = True


@dataclass(frozen=True)
class Shape:
    """A filled outline: the diamond of L1, the disc of L2."""

    kind: ClassVar[str] = "shape"
    label: str
    x: Floats
    y: Floats
    role: Role = "train"


@dataclass(frozen=True)
class Note:
    """Words at a place in the panel."""

    kind: ClassVar[str] = "note"
    text: str
    x: float
    y: float
    role: Role = "plain"


Mark = Line | Dots | Band | Rule | Bars | Intervals | Shape | Note


@dataclass(frozen=True)
class Press:
    """What a click on the panel, or Enter when it has the focus, does: add `step` to the control named `control`."""

    control: str
    label: str
    step: int = 1


@dataclass(frozen=True)
class Plot:
    """Marks over two axes. `square` keeps both axes' units equally long."""

    kind: ClassVar[str] = "plot"
    title: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    height: int = 260  # CSS pixels
    square: bool = False
    small: bool = False  # one of several small multiples
    press: Press | None = None


@dataclass(frozen=True)
class Heat:
    """A grid of values: `values[row][column]`, drawn from light to dark between `low` and `high`; NaN is crossed.

    With `signed`, the scale has two arms around 0. `marked` cells (column, row) carry a ring. `texts` are written in
    the cells.
    """

    kind: ClassVar[str] = "heat"
    title: str
    x: Axis
    y: Axis
    values: Sequence[Floats]
    label: str = ""
    low: float | None = None
    high: float | None = None
    signed: bool = False
    marked: Sequence[tuple[int, int]] = ()
    texts: Sequence[Sequence[str]] = ()
    height: int = 260
    press: Press | None = None


@dataclass(frozen=True)
class Node:
    """A unit of a drawn network; a dropped one is grey and crossed. `text` stands beside it, `value` fills it."""

    dropped: bool = False
    value: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Network:
    """A drawing of a network: layers of units from left to right, and the weight of each connection.

    `edges[i][j][k]` is the weight from unit k of layer i to unit j of layer i + 1; 0 is not drawn, NaN is dashed
    (switched off).
    """

    kind: ClassVar[str] = "network"
    title: str
    layers: Sequence[Sequence[Node]]
    names: Sequence[str]
    edges: Sequence[Sequence[Floats]] = ()
    height: int = 280
    press: Press | None = None


@dataclass(frozen=True)
class Tile:
    """A small picture: `pixels` is base64 of uint8 rows (height, width, channels), channels 1 or 3."""

    pixels: str
    width: int
    height: int
    channels: int
    caption: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class Images:
    """A gallery of pictures. `size` is the drawn width of a tile in CSS pixels."""

    kind: ClassVar[str] = "images"
    title: str
    tiles: Sequence[Tile]
    size: int = 84
    press: Press | None = None


@dataclass(frozen=True)
class Numbers:
    """Large numbers side by side: (label, text, note)."""

    kind: ClassVar[str] = "numbers"
    title: str
    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates: one line a member over several axes; `values[member][axis]`; `chosen` members stand out."""

    kind: ClassVar[str] = "parallel"
    title: str
    axes: Sequence[Axis]
    values: Sequence[Floats]
    chosen: Sequence[int] = ()
    height: int = 300


@dataclass(frozen=True)
class Table:
    """Columns and rows of text and numbers: a panel of its own, or the numbers behind a figure."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    title: str = ""
    links: Sequence[str] = ()  # one address a row, relative to the lab ("/f/poly"), or "" for none


Panel = Plot | Heat | Network | Images | Numbers | Parallel | Table
"""Any panel of a figure."""


@dataclass(frozen=True)
class Number:
    """An exact number under a figure: `value` is the number, `text` what the reader sees."""

    label: str
    value: float
    text: str
    role: Role = "plain"


@dataclass(frozen=True)
class Frame:
    """One picture of a figure. `notice` says in words what went wrong or what to look at (NaN, an unmet bound)."""

    panels: Sequence[Panel]
    numbers: Sequence[Number] = ()
    notice: str = ""


def plain(record: Any) -> Any:
    """Return a record of this module as JSON data: dicts with a `kind`, lists, texts, numbers; NaN becomes None."""
    if hasattr(record, "__dataclass_fields__"):
        own = {field.name: plain(getattr(record, field.name)) for field in fields(record)}
        return {"kind": record.kind, **own} if hasattr(record, "kind") else own
    if isinstance(record, str | bool | None):
        return record
    if isinstance(record, Tensor):
        record = record.detach().cpu().numpy()
    if isinstance(record, np.ndarray | np.generic):
        return plain(record.tolist())
    if isinstance(record, int):
        return record
    if isinstance(record, float):
        return float(f"{record:.{DIGITS}g}") if np.isfinite(record) else None
    return [plain(item) for item in record]


def tile_of(image: Tensor, caption: str = "", chosen: bool = False) -> Tile:
    """Return a picture of shape (C, H, W) or (H, W), floats in [0, 1] or uint8, as a tile. C is 1 or 3."""
    array = image.detach().cpu()
    array = array if array.dim() == 3 else array[None]
    if array.is_floating_point():
        array = (array.clamp(0, 1) * 255).round()
    array = array.byte().permute(1, 2, 0).contiguous()
    height, width, channels = array.shape
    pixels = base64.b64encode(array.numpy().tobytes()).decode("ascii")
    return Tile(pixels, width, height, channels, caption, chosen)
