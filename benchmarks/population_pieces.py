"""Where a population's step goes, kernel by kernel: the last table of `benchmarks/population.py`."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from benchmarks.population import MEMBERS, operations, peak, population, timed
from poise.kernels import chain as kernels
from poise.train import work


def pieces(width: int, steps: int = 20) -> dict[str, Any]:
    """Return the processor microseconds of a member's step by kernel; the network's also without one kind of layer."""
    taken: dict[str, float] = {}
    real = work.run_jobs

    def each(todo: Any, members: int, scratch: int, threads: int) -> None:
        for one in todo:
            began = time.process_time()
            real([one], members, scratch, threads)
            taken[one[0]] = taken.get(one[0], 0.0) + time.process_time() - began
            if one[0] == "poise_chain":
                without(one[1], members, scratch)

    def without(chain: kernels.Chain, members: int, scratch: int) -> None:
        """Run the network again with one kind of layer left out: what is missing is that kind's share."""
        layers, count = chain.layers, chain.layers_count
        whole = list((kernels.Layer * count).from_address(layers))
        for kind, number in {"": -1, **kernels.KINDS}.items():
            kept = [layer for layer in whole if layer.kind != number]
            if kind and len(kept) == count:
                continue
            array = (kernels.Layer * max(1, len(kept)))(*kept)
            chain.layers, chain.layers_count = ctypes.addressof(array), len(kept)
            began = time.process_time()
            real([("poise_chain", chain)], members, scratch, 1)
            taken[f"without {kind}"] = taken.get(f"without {kind}", 0.0) + time.process_time() - began
        chain.layers, chain.layers_count = layers, count

    step = population(width)
    step(5)
    whole = timed(step, steps, MEMBERS).processor
    work.run_jobs = each
    try:
        step(steps)
    finally:
        work.run_jobs = real
    us = {name: 1e6 * seconds / steps / MEMBERS for name, seconds in taken.items()}
    network = {kind: us["without "] - us[f"without {kind}"] for kind in kernels.KINDS if f"without {kind}" in us}
    found = {
        "batch: gather, mixup, smoothing": us["poise_rows"] + us.get("poise_order", 0.0),
        "matrix products": network["linear"],
        "batch norm": network["batch_norm"],
        "activation": network["activation"],
        "dropout": network["dropout"],
        "loss, and the rest of the network": us["poise_chain"] - sum(network.values()),
        "decay, Adam": us["poise_update"],
    }
    rest = 1e6 * whole - sum(us[name] for name in us if name.startswith("poise"))
    ideal = operations(width) / peak() * 1e6
    return {"width": width, "whole": 1e6 * whole, "pieces": found | {"Python": rest}, "products at the peak": ideal}
