"""After training: ensembles and calibration."""

from poise.predict.ensemble import Ensemble, average_probabilities
from poise.predict.temperature import expected_calibration_error, fit_temperature

__all__ = ["Ensemble", "average_probabilities", "expected_calibration_error", "fit_temperature"]
