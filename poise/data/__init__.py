"""Tables and images in: read them, look them over, encode them, and divide their rows."""

from poise.data.encoding import Encoder
from poise.data.inspect import Column, Inspection, inspect
from poise.data.read import BUNDLED, Table, read
from poise.data.split import Split, split
from poise.data.target import Target

__all__ = ["BUNDLED", "Column", "Encoder", "Inspection", "Split", "Table", "Target", "inspect", "read", "split"]
