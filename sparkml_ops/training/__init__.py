"""Data-parallel training on Spark: `run.train` is the way in; nothing is imported here, since every rank imports this package."""
