"""Monitoring: what the truth says of predictions, and what can be said before it is known."""
