"""Settings of a session whose tables have a few rows: most of its time would go into compiling plans. Doors and e2e run as users do."""

__all__ = ["FEW_ROWS", "JAVA"]

FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Each task over a table's log writes the text of its decoder anew, for longer than it decodes a few commits.
    "spark.databricks.delta.snapshotPartitions": "1",
}
# Plans live as long as a job: in a large young generation they are gone before they are ever copied. For a heap of 2 GiB.
JAVA = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -Xms1500m -Xmn1g"
