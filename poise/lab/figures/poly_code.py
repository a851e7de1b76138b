"""The script behind the polynomial fit: the same settings in a training loop with the public library."""

from __future__ import annotations

from poise.lab.controls import State

__all__ = ["script"]

_NEWTON = """\
    # The objective is quadratic in the weights, so that one Newton step from anywhere ends at its minimum.
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(objective(), parameters, create_graph=True)
    slope = torch.cat([part.flatten() for part in slopes])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True) for entry in slope]
    curvature = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    start = torch.nn.utils.parameters_to_vector(parameters)
    end = torch.linalg.pinv(curvature, rtol=1e-13, hermitian=True) @ (curvature @ start - slope)
    torch.nn.utils.vector_to_parameters(end.detach(), parameters)
    return model
"""

_DESCENT = """\
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    design = torch.cat([torch.ones_like(own_y)[:, None], features], 1)
    curvature = 2 * design.T @ design / len(design){l2}
    rate = 0.1 / float(torch.linalg.eigvalsh(curvature).max())
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for step in range(1, {steps} + 1):
        objective().backward()
        run.update(optimizer){stop}
    return {end}
"""

_STOP = """
        if step % 5 == 0:
            with run.evaluation():
                score = ((model(legendre(kept_x, degree))[:, 0] - kept_y) ** 2).mean()
            if run.stop(score):
                break"""


def script(state: State) -> str:
    """Return the script of a state."""
    parts = [
        *([f"poise.L2({state['l2']!r})"] if state["l2"] else []),
        *([f"poise.L1({state['l1']!r})"] if state["l1"] else []),
        *([f"poise.InputNoise({state['jitter']!r})"] if state["jitter"] else []),
        *(["poise.Patience(10)"] if state["stopping"] else []),
    ]
    copies = ".repeat(20)" if state["jitter"] else ""
    descends = bool(state["stopping"] or state["l1"])
    l2 = f" + {state['l2']!r} * torch.diag(torch.tensor([0.0] + [1.0] * degree))" if state["l2"] else ""
    body = _NEWTON
    if descends:
        steps, stop = (400, _STOP) if state["stopping"] else (5_000, "")
        body = _DESCENT.format(l2=l2, steps=steps, stop=stop, end="run.predictor()" if state["stopping"] else "model")
    many = state["bagging"]
    kept = f"\nkept_x, kept_y = wave(200, {state['noise']!r}, seed + 2 * NEW)" if state["stopping"] else ""
    rows = "bootstrap_rows(range(10), len(x), seed)" if many else "[torch.arange(len(x))]"
    imports = "from poise.train.bagging import bootstrap_rows\n" if many else ""
    answer = 'poise.Ensemble(models, space="output")' if many else "models[0]"
    weights = "torch.stack([model.weight for model in models]).mean(0)" if many else "models[0].weight"
    return f"""\
import torch

import poise
from poise.lab.samples import NEW, legendre, wave
{imports}
seed, degree = {state["seed"]}, {state["degree"]}
x, y = wave({state["points"]}, {state["noise"]!r}, seed)
new_x, new_y = wave(200, {state["noise"]!r}, seed + NEW){kept}
recipe = poise.Recipe({", ".join(parts)})


def fitted(rows):
    model = torch.nn.Linear(degree, 1, dtype=torch.float64)
    run = recipe.start(model, seed=seed)
    own_x, own_y = run.batch(x[rows]{copies}, y[rows]{copies})
    features = legendre(own_x, degree)

    def objective():
        return run.objective(((model(features)[:, 0] - own_y) ** 2).mean())

{body}

models = [fitted(rows) for rows in {rows}]
answer = {answer}
with torch.no_grad():
    train = ((answer(legendre(x, degree))[:, 0] - y) ** 2).mean().sqrt()
    new = ((answer(legendre(new_x, degree))[:, 0] - new_y) ** 2).mean().sqrt()
print("error on the training points", float(train))
print("error on new points", float(new))
print("gap", float(new - train))
print("weights that are 0", int(({weights} == 0).sum()))
"""
