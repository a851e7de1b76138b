"""Training: one step, a population of networks, a run in the user's own loop."""
