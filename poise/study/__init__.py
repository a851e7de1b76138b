"""Studies: many recipes trained at once, searched, ablated by retraining, ensembled, reported."""

from poise.study.choices import IMAGE, TABLE
from poise.study.estimators import Classifier, Regressor
from poise.study.model import StudyModel, load_model
from poise.study.study import Study

__all__ = ["IMAGE", "TABLE", "Classifier", "Regressor", "Study", "StudyModel", "load_model"]
