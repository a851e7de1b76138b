"""For those who write regularizers: the battery that every part passes, samples, slow twins."""

from poise.testing.battery import Report, check_regularizer, declared_checks
from poise.testing.samples import Sample, example, sample_for

__all__ = ["Report", "Sample", "check_regularizer", "declared_checks", "example", "sample_for"]
