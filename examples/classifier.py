"""A searched recipe behind scikit-learn's contract: fit, score, cross-validation, saving."""

import tempfile

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score, train_test_split

import poise
from poise.study import load_model

X, y = load_wine(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# A budget in trials gives equal results for equal seeds. Five are a demonstration; "2m" is a search.
model = poise.Classifier(budget="5trials", seed=0).fit(X_train, y_train)
print(f"accuracy {model.score(X_test, y_test):.3f} on {len(X_test)} rows that the search never saw")
print(f"the best of {len(model.fitted_.trials)} configurations: {', '.join(part.name for part in model.recipe_)}")
print(f"the ensemble has {len(model.model_.stack)} networks")

scores = cross_val_score(poise.Classifier(budget="1trials", parts=("dropout", "patience")), X, y, cv=3)
print(f"cross-validated accuracy of one small configuration: {scores.mean():.3f}")

with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/model")
    again = load_model(f"{folder}/model").predict_frame(X_test)
print(f"after loading, equal: {np.array_equal(again['prediction'], model.predict(X_test))}")
