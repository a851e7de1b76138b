"""Studies: many recipes trained at once, searched, ablated by retraining, ensembled, reported."""

from poise.study.estimators import Classifier, Regressor
from poise.study.space import PARTS
from poise.study.study import Study
from poise.study.table_model import TableModel, load_model

__all__ = ["PARTS", "Classifier", "Regressor", "Study", "TableModel", "load_model"]
