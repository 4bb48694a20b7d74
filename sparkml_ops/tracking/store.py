"""The connection to an MLflow store, and what its failures mean."""

from __future__ import annotations

import os
import socket
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from feature_store import hooks
from sparkml_ops.errors import ContractError, RetryableError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["awaited", "calling", "connect", "default_uri", "is_code", "shown"]

_ANSWER_SECONDS = 10.0
_AWAY = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})


def default_uri() -> str:
    """Where MLflow itself would look: a notebook's setting, or MLFLOW_TRACKING_URI."""
    import mlflow

    return str(mlflow.get_tracking_uri())


def connect(uri: str, *, create: bool = False) -> MlflowClient:
    """A client of a store that has answered.

    Looked at first by ourselves: MLflow tries an unusable database or a dead server again for minutes.

    Args:
        create: Whether to make a SQLite store that is not there; who only reads or plans must not.

    Raises:
        ContractError: The store cannot be opened or written, or is no MLflow store, or is not there.
        RetryableError: A server does not answer.
    """
    url = urlsplit(uri)
    if url.scheme == "sqlite":
        _check_sqlite(url, create=create)
    elif url.scheme in ("http", "https"):
        _check_server(url)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.telemetry import set_telemetry_client

    # Where MLflow was imported before us its telemetry client is alive: the variables are read again here.
    set_telemetry_client()  # type: ignore[no-untyped-call]
    try:
        if url.scheme == "sqlite" and not _database(url).exists():
            _make_sqlite(_database(url))
        with calling(uri):
            # Else a notebook's mlflow.set_registry_uri would part a project's models from its runs. Beside a server, or on
            # Databricks, another registry may be meant.
            client = MlflowClient(tracking_uri=uri, registry_uri=uri if url.scheme == "sqlite" else None)
            client.search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise ContractError(
            f"the MLflow store {shown(uri)} ({first_line(error)[:200]})", expected="a store of this MLflow", mend="correct mlflow.tracking_uri"
        ) from error
    return client


@contextmanager
def calling(uri: str, hook: str = "") -> Iterator[None]:
    """Call MLflow; a store that went away is an error that may pass.

    Args:
        hook: The named point to pass, where the call writes.

    Raises:
        RetryableError: The store does not answer.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        with hooks.passing(hook) if hook else nullcontext():
            yield
    except MlflowException as error:
        if error.error_code in _AWAY or isinstance(error.__cause__ or error.__context__, RequestException):
            raise RetryableError(
                f"no answer from the MLflow store {shown(uri)} ({first_line(error)[:200]})", mend="run again when it is back"
            ) from error
        raise


def is_code(error: Exception, *codes: str) -> bool:
    """Whether MLflow says one of these: RESOURCE_DOES_NOT_EXIST, RESOURCE_ALREADY_EXISTS, ..."""
    return getattr(error, "error_code", None) in codes


def awaited(uri: str) -> str | None:
    """Where a SQLite store will be made at the first run; None where there is one, or a server.

    Raises:
        ContractError: It cannot be made there.
    """
    url = urlsplit(uri)
    path = _database(url)
    if url.scheme != "sqlite" or path.exists():
        return None
    nearest = next(place for place in path.resolve().parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ContractError(
            f"the MLflow store {path}, where {nearest} cannot be written", expected="a folder that can", mend="correct mlflow.tracking_uri"
        )
    return str(path)


def _check_sqlite(url: SplitResult, *, create: bool) -> None:
    path = _database(url)
    fault: Exception | None = None
    try:
        if not path.exists() and not create:
            raise ContractError(
                f"no MLflow store {path}", expected="the store of an earlier run", mend="train and register first, or correct mlflow.tracking_uri"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is not there yet is tried under another name: the file appears when it is a whole store.
        with (
            NamedTemporaryFile(dir=path.parent) as probe,
            closing(sqlite3.connect(path if path.exists() else probe.name, timeout=_ANSWER_SECONDS)) as database,
        ):
            database.isolation_level = None
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise RetryableError(f"the MLflow store {path}, locked by another process", mend="run again when it is done") from error
        fault = error
    except (sqlite3.DatabaseError, OSError) as error:
        fault = error
    if fault is not None:
        raise ContractError(
            f"the MLflow store {path} ({fault})", expected="a SQLite file that can be written", mend="correct mlflow.tracking_uri, or the rights"
        ) from fault


def _make_sqlite(path: Path) -> None:
    """Make a store under another name first: MLflow cannot go on with one whose making was cut off."""
    from mlflow import MlflowClient

    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
        with hooks.passing("mlflow.create_store"), suppress(FileExistsError):  # another process was first
            path.hardlink_to(partial)
    finally:
        partial.unlink(missing_ok=True)


def _check_server(url: SplitResult) -> None:
    address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise RetryableError(
            f"no MLflow server at {address[0]}:{address[1]} ({error})", expected="a running server", mend="start it, or correct mlflow.tracking_uri"
        ) from error


def _database(url: SplitResult) -> Path:
    return Path(unquote(url.path).removeprefix("/"))


def shown(uri: str) -> str:
    """The address without user and password; a SQLite file's path."""
    url = urlsplit(uri)
    if url.scheme == "sqlite":
        return str(_database(url))
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
