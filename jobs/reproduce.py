"""`reproduce` under spark-submit: same options as `sparkml-ops reproduce`, its record as one JSON line."""

from sparkml_ops.cli import job

if __name__ == "__main__":
    job("reproduce")
