"""What a change detector of river holds, as JSON: it goes on from there elsewhere as if it had never stopped."""

from __future__ import annotations

import base64
import math
from collections import deque
from random import Random
from typing import Any

__all__ = ["filled", "held"]


def held(value: Any) -> Any:
    """A detector, or a part of one, in types that JSON has; floats come back bit for bit.

    What only the constructor makes (a method chosen by a setting) is left out. Parts written in Rust give their numbers as bytes.

    >>> held(float("inf")), held(deque([1.0, 2.0]))
    ({'number': 'inf'}, {'values': [1.0, 2.0]})
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"number": repr(float(value))}
    if isinstance(value, deque):
        return {"values": [held(item) for item in value]}
    if isinstance(value, Random):
        version, numbers, gauss = value.getstate()
        return {"random": [version, list(numbers), gauss]}
    if isinstance(state := value.__getstate__(), bytes):
        return {"bytes": base64.b64encode(state).decode("ascii")}
    return {"fields": {name: held(item) for name, item in vars(value).items() if not callable(item)}}


def filled(part: Any, state: Any) -> Any:
    """A part of a new detector with what was held; nothing in the state names a class, so that it can make none.

    Args:
        part: As the constructor made it, with the same settings.
        state: Of `held`.
    """
    if not isinstance(state, dict):
        return state
    ((kind, value),) = state.items()
    match kind:
        case "number":
            return float(value)
        case "values":
            part.clear()
            part.extend(filled(None, item) for item in value)
        case "random":
            part.setstate((value[0], tuple(value[1]), value[2]))
        case "bytes":
            part.__setstate__(base64.b64decode(value))
        case _:
            for name, item in value.items():
                setattr(part, name, filled(getattr(part, name), item))
    return part
