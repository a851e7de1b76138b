"""Plots of gaps and learning curves, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poise.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from poise.core.interval import Interval
    from poise.diagnosis.curves import GapMeter, LearningCurve
    from poise.diagnosis.gap import GapReport

__all__ = ["plot_curve", "plot_gap", "plot_meter"]

_TRAIN, _VALIDATION = "#0072b2", "#d55e00"  # told apart by the colour-blind too (Okabe and Ito 2008)


def _figure(columns: int = 1) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArgumentError("plots need matplotlib: pip install 'poise[study]'.") from None
    figure = Figure(figsize=(4.2 * columns, 3.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(axis: Any, place: float, interval: Interval, colour: str) -> None:
    below, above = interval.value - interval.low, interval.high - interval.value
    axis.errorbar([place], [interval.value], [[max(below, 0)], [max(above, 0)]], fmt="o", color=colour, capsize=4)


def plot_gap(report: GapReport) -> Figure:
    """Return train and validation of each measure with their intervals, and the gap between them."""
    figure, axes = _figure(len(report.measures))
    for axis, one in zip(axes, report.measures, strict=True):
        _bars(axis, 0, one.train, _TRAIN)
        _bars(axis, 1, one.validation, _VALIDATION)
        axis.plot([0.5, 0.5], [one.train.value, one.validation.value], color="0.7", linewidth=4, solid_capstyle="butt")
        axis.set_title(f"{one.name}: gap {one.gap.value:.3g} ({one.gap.low:.3g} to {one.gap.high:.3g})", fontsize=9)
        axis.set_xlim(-0.5, 1.5)
        axis.set_xticks([0, 1], [f"train\n{one.train.value:.3g}", f"validation\n{one.validation.value:.3g}"])
        axis.set_ylim(bottom=min(0.0, one.train.low))
    return figure


def _curve(axis: Any, x: Sequence[float], values: Sequence[Interval], colour: str, label: str) -> None:
    axis.plot(x, [one.value for one in values], "o-", color=colour, label=label, markersize=4)
    axis.fill_between(
        x, [one.low for one in values], [one.high for one in values], color=colour, alpha=0.18, linewidth=0
    )


def plot_curve(curve: LearningCurve) -> Figure:
    """Return the loss on seen and unseen rows over the number of training rows, and over steps at the largest."""
    figure, axes = _figure(2)
    _curve(axes[0], curve.sizes, curve.train, _TRAIN, "train")
    _curve(axes[0], curve.sizes, curve.validation, _VALIDATION, "validation")
    axes[0].set_xscale("log")
    axes[0].set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
    axes[0].set_xticks([], minor=True)
    axes[0].set_xlabel("training rows")
    axes[1].plot(curve.steps, curve.train_steps, color=_TRAIN, label="train")
    axes[1].plot(curve.steps, curve.validation_steps, color=_VALIDATION, label="validation")
    axes[1].axvline(curve.best_step, color="0.4", linestyle="--", linewidth=1)
    axes[1].set_xlabel(f"steps, at {curve.sizes[-1]:,} rows; dashed: the best")
    for axis in axes:
        axis.set_ylabel("loss")
        axis.legend(frameon=False)
    return figure


def plot_meter(meter: GapMeter) -> Figure:
    """Return the recorded losses over steps, with a line at the best."""
    figure, axes = _figure(1)
    steps = [point.step for point in meter.points]
    _curve(axes[0], steps, [point.train for point in meter.points], _TRAIN, "train")
    _curve(axes[0], steps, [point.validation for point in meter.points], _VALIDATION, "validation")
    if steps:
        axes[0].axvline(meter.best_step, color="0.4", linestyle="--", linewidth=1)
    axes[0].set_xlabel("step; dashed: the best")
    axes[0].set_ylabel("loss")
    axes[0].legend(frameon=False)
    return figure
