"""Numbers for the pictures of the catalog: the map of what was made from what, and a column's bars."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from feature_store.lineage import Graph, Node
from sparkml_ops.catalog.distribution import Distribution

__all__ = ["HEIGHT", "WIDTH", "Box", "Column", "Map", "columns_of", "map_of"]

WIDTH, HEIGHT = 240.0, 64.0
_BOX, _TALL, _BESIDE, _BELOW, _TOP = 186.0, 40.0, 64.0, 12.0, 30.0
_LETTERS = 24
# Of more things in a column the last ones are drawn, which are the newest.
_MOST = 12
_LEVELS = {"source": 0, "feature table": 1, "training set": 2, "model": 3, "scoring set": 3, "predictions": 4}


@dataclass(frozen=True)
class Box:
    """A thing of the map.

    Args:
        text: Its name, cut where the box is too narrow.
    """

    x: float
    y: float
    node: Node
    text: str


@dataclass(frozen=True)
class Map:
    """Boxes in columns from left to right, and a curve from each thing to what was made from it.

    Args:
        boxes: The things.
        curves: SVG paths.
        more: (x, y, words) under a column where not all of it is drawn.
        said: The same in words: each thing with what it was made from.
    """

    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]
    more: tuple[tuple[float, float, str], ...]
    said: str


@dataclass(frozen=True)
class Column:
    """A bar that stands upright."""

    x: float
    y: float
    width: float
    height: float
    text: str


def map_of(graph: Graph) -> Map | None:
    """The map of tables and their users; None where there is nothing."""
    known = graph.tables()
    if not known.nodes:
        return None
    before: dict[str, list[str]] = {key: [] for key in known.nodes}
    for edge in known.edges:
        before[edge.target].append(edge.source)
    levels = _levels(known, before)
    columns: list[list[str]] = [[key for key in known.nodes if levels[key] == level] for level in sorted(set(levels.values()))]
    boxes: dict[str, Box] = {}
    more = []
    for number, column in enumerate(columns):
        # Near to what they were made from, so that few curves cross.
        shown = sorted(column[-_MOST:], key=lambda key: fmean([boxes[one].y for one in before[key] if one in boxes] or [0.0]))
        x = number * (_BOX + _BESIDE) + 2
        for place, key in enumerate(shown):
            node = known.nodes[key]
            boxes[key] = Box(x, _TOP + place * (_TALL + _BELOW), node, _cut(node.name))
        if hidden := len(column) - len(shown):
            more.append((x, _TOP + len(shown) * (_TALL + _BELOW) + 14, f"and {hidden} before"))
    curves = tuple(_curve(boxes[edge.source], boxes[edge.target]) for edge in known.edges if edge.source in boxes and edge.target in boxes)
    height = max(box.y for box in boxes.values()) + _TALL + (_BELOW + 18 if more else 4)
    said = "; ".join(f"{node.kind} {node.name}{_from([known.nodes[one].name for one in before[key]])}" for key, node in known.nodes.items())
    return Map(len(columns) * (_BOX + _BESIDE) - _BESIDE + 4, height, tuple(boxes.values()), curves, tuple(more), said)


def columns_of(distribution: Distribution) -> tuple[Column, ...]:
    """The bars of numbers, side by side in a box of `WIDTH` by `HEIGHT`."""
    highest = max((bar.share for bar in distribution.bars), default=0.0) or 1.0
    step = WIDTH / max(len(distribution.bars), 1)
    thickness = min(step - 1, 28.0) if distribution.shape == "values" else step - 1
    return tuple(
        Column(
            place * step + (step - thickness) / 2,
            HEIGHT * (1 - bar.share / highest),
            thickness,
            HEIGHT * bar.share / highest,
            f"{bar.label}: {bar.share:.2%}",
        )
        for place, bar in enumerate(distribution.bars)
    )


def _levels(graph: Graph, before: dict[str, list[str]]) -> dict[str, int]:
    """How far to the right each thing stands: beyond all that it was made from, wherever no circle forbids it."""
    levels = {key: _LEVELS.get(node.kind, 4) for key, node in graph.nodes.items()}
    for _ in levels:
        moved = {key: max(level, *(levels[one] + 1 for one in before[key] if one != key), 0) for key, level in levels.items()}
        if moved == levels or max(moved.values()) > len(levels) + len(_LEVELS):
            break
        levels = moved
    return levels


def _curve(source: Box, target: Box) -> str:
    x, y, end, down = source.x + _BOX, source.y + _TALL / 2, target.x, target.y + _TALL / 2
    bend = max((end - x) / 2, _BESIDE / 2)
    return f"M{x:.0f} {y:.0f}C{x + bend:.0f} {y:.0f} {end - bend:.0f} {down:.0f} {end:.0f} {down:.0f}"


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _from(names: list[str]) -> str:
    return f" from {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}" if names else ""
