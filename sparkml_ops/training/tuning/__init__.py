"""Search for a better training: trials on Spark, judged on the validation split.

Nothing is imported here: a trial on an executor needs no Optuna.
"""
