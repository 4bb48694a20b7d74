"""Odd factors that pairs of positions are hashed with: Knuth's golden ratio, and two of SplitMix64's."""

from __future__ import annotations

__all__ = ["FIRST", "SECOND", "THIRD"]

FIRST, SECOND, THIRD = 0x9E3779B1, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB
