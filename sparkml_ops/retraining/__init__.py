"""Retraining: whether a new model is due, and how it is made."""
