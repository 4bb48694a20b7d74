"""The model that training makes and scoring applies: description, preprocessing, weights, predictions."""

from __future__ import annotations

from sparkml_ops.model.artifact import digest, load, save
from sparkml_ops.model.module import FeatureDescription
from sparkml_ops.model.spec import CategoricalInput, ModelSpec, NumericInput
from sparkml_ops.model.target import Target

__all__ = ["CategoricalInput", "FeatureDescription", "ModelSpec", "NumericInput", "Target", "digest", "load", "save"]
