"""Figures as files that work without Python: the frames of a grid of states, packed into the page."""

from poise.lab.export.page import page_html
from poise.lab.export.site import export_site
from poise.lab.export.store import Limits, Stored, stored

__all__ = ["Limits", "Stored", "export_site", "page_html", "stored"]
