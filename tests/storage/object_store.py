"""An object store as tests see it: its address, and what Spark needs to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pyspark

__all__ = ["BUCKET", "SECRET", "ObjectStore"]

SECRET = "a-secret-that-nobody-may-see"
BUCKET = "lake"
# As docs say for a cluster: hadoop-aws in the version of Spark's own Hadoop. Its SDK comes as one bundle of 690 MB; what it uses is 18 MB.
_SDK = "2.35.4"
_PARTS = ("s3", "s3-transfer-manager", "sts")


@dataclass(frozen=True)
class ObjectStore:
    """Where the objects are.

    Args:
        endpoint: Address of the server.
    """

    endpoint: str

    def base(self, prefix: str) -> dict[str, Any]:
        """Tables and objects under a prefix, spelt in both ways."""
        return {"warehouse": {"root": f"s3a://{BUCKET}/{prefix}/warehouse"}, "storage": {"root": f"s3://{BUCKET}/{prefix}/storage"}}

    @property
    def spark(self) -> dict[str, Any]:
        """The section `spark` that reaches it; credentials come from the environment."""
        own = {"endpoint": self.endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
        settings = {f"spark.hadoop.fs.s3a.{name}": value for name, value in own.items()}
        hadoop = next((Path(pyspark.__file__).parent / "jars").glob("hadoop-client-api-*.jar")).stem.rpartition("-")[2]
        packages = [f"org.apache.hadoop:hadoop-aws:{hadoop}", *(f"software.amazon.awssdk:{part}:{_SDK}" for part in _PARTS)]
        return {"packages": packages, "conf": {**settings, "spark.jars.excludes": "software.amazon.awssdk:bundle"}}

    def names(self, prefix: str) -> list[str]:
        """Objects under a prefix."""
        pages = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]
