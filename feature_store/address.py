"""Addresses of an object store: Spark and Python spell Amazon's differently.

Hadoop's file system has the scheme `s3a` alone, pyarrow, MLflow and most of Python `s3` alone. Users write either.
"""

from __future__ import annotations

__all__ = ["for_python", "for_spark"]


def for_spark(address: str) -> str:
    """As Spark reads it.

    >>> for_spark("s3://lake/tables"), for_spark("/data/tables")
    ('s3a://lake/tables', '/data/tables')
    """
    return f"s3a://{address.removeprefix('s3://')}" if address.startswith("s3://") else address


def for_python(address: str) -> str:
    """As pyarrow, fsspec, deltalake and MLflow read it.

    >>> for_python("s3a://lake/tables"), for_python("/data/tables")
    ('s3://lake/tables', '/data/tables')
    """
    return f"s3://{address.removeprefix('s3a://')}" if address.startswith("s3a://") else address
