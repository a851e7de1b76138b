"""Recipes in other people's trainers; import the module of yours: `lightning`, `transformers` or `skorch`."""
