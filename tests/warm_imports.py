"""What a driver or a command would import by and by, for a process that forks them: a second or two of a core for each of them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

__all__ = ["warm"]

_LATE = (
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "scipy.stats",
    "sparkml_ops.cli",
    "sparkml_ops.project",
    "sparkml_ops.training.run",
)


def warm() -> None:
    """Import it, and have SQLAlchemy work out its mappings; nothing is opened."""
    import sqlalchemy.orm

    import sparkml_ops.verbs

    for name in (*_LATE, *(f"sparkml_ops.verbs.{module.name}" for module in iter_modules(sparkml_ops.verbs.__path__))):
        import_module(name)
    sqlalchemy.orm.configure_mappers()
