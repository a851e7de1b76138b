"""After training: what predicts (ensembles, snapshots, samples of weights or masks), and its calibration."""

from poise.predict.augmentation_at_test import AugmentationAtTest
from poise.predict.calibration_report import Calibration, calibration, expected_calibration_error
from poise.predict.dropout_at_test import DropoutAtTest
from poise.predict.ensemble import Ensemble, average_probabilities
from poise.predict.snapshot_ensemble import SnapshotEnsemble
from poise.predict.swag import Swag
from poise.predict.temperature import Calibrated, Temperature, calibrate, fit_temperature, fit_temperatures

__all__ = [
    "AugmentationAtTest",
    "Calibrated",
    "Calibration",
    "DropoutAtTest",
    "Ensemble",
    "SnapshotEnsemble",
    "Swag",
    "Temperature",
    "average_probabilities",
    "calibrate",
    "calibration",
    "expected_calibration_error",
    "fit_temperature",
    "fit_temperatures",
]
