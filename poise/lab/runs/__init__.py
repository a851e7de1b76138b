"""The user's own runs: studies, live while they run, and the logs of loops; they are read and never written."""

from poise.lab.runs.library import Library
from poise.lab.runs.pages import ComparePage, RunLine, RunPage
from poise.lab.runs.source import run_of

__all__ = ["ComparePage", "Library", "RunLine", "RunPage", "run_of"]
