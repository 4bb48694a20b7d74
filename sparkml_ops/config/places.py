"""Where things lie: tables, objects, the MLflow store."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from feature_store.names import Warehouse
from sparkml_ops.config.secret import holds_password
from sparkml_ops.config.section import Section

__all__ = ["MlflowSection", "StorageSection", "WarehouseSection"]


class StorageSection(Section):
    """`storage`: objects that outlive a process, readable by every executor."""

    root: str = Field(default="data/storage", description="folder (relative to the folder that holds conf/) or object-store address")


class WarehouseSection(Section):
    """`warehouse`: Delta tables by path or by catalog; exactly one of the two."""

    root: str | None = Field(default=None, description="folder or object-store address of the tables")
    catalog: str | None = Field(default=None, description="`catalog.schema` of the tables")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        self.warehouse()
        return self

    def warehouse(self) -> Warehouse:
        """The warehouse that these options name."""
        return Warehouse(root=self.root, catalog=self.catalog)


class MlflowSection(Section):
    """`mlflow`: the tracking store and registry."""

    tracking_uri: str = Field(default="sqlite:///data/mlflow.db", description="store; `secret://env/NAME` takes it from the environment")
    experiment: str | None = Field(default=None, description="experiment; null: the project's name")
    artifact_root: str | None = Field(default=None, description="where a new experiment keeps artifacts; null: `mlflow` under storage.root")

    @field_validator("tracking_uri")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if holds_password(value):
            raise ValueError("a password stands in the address: use secret://env/NAME and set that environment variable")
        return value
