"""Predictions of a final model for the rows of a table in a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from selection.data.tables import read_features
from selection.errors import DataError, ErrorDetail
from selection.model.estimator import AnyModel, ClassifierModel


def predict_table(model: AnyModel, table: Path) -> pd.DataFrame:
    """Return a prediction for each row, and for a classifier the probability of each class.

    Raises: DataError if the table cannot be read or does not fit the model.
    """
    names, categorical = model.document["feature_names"], model.document["categorical"]
    features, categories = read_features(table, names, categorical)
    frame = pd.concat([pd.DataFrame(features, columns=names), pd.DataFrame(categories)], axis=1)
    try:
        predictions = pd.DataFrame({"prediction": model.predict(frame)})
    except ValueError as error:
        rule = "the rows must fit the model"
        raise DataError(ErrorDetail(str(table), rule, str(error), "Fix the table.")) from None
    if isinstance(model, ClassifierModel):
        columns = [f"probability_{each}" for each in model.class_names]
        chances = pd.DataFrame(model.predict_proba(frame), columns=columns)
        predictions = pd.concat([predictions, chances], axis=1)
    return predictions
