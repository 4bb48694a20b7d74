"""The card of a version: what people must know before they use it, made from what is on record (Mitchell et al. 2019, "Model cards").

What only people can say stands in `release.card`; all else comes from registry, gates and training set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from sparkml_ops.config.release import CardSection
from sparkml_ops.model.spec import ModelSpec
from sparkml_ops.page import Drawn, template
from sparkml_ops.records import GateReport, ModelVersion
from sparkml_ops.release.card_template import MARKDOWN, PAGE
from sparkml_ops.release.explanation import Explanation

__all__ = ["Card", "Declared"]

_SAID = (
    ("Intended use", "intended_use"),
    ("Not for", "not_for"),
    ("Limits", "limits"),
    ("Personal data", "personal_data"),
    ("Owner", "owner"),
    ("Contact", "contact"),
)
_NOTHING = "Nobody has said."
_SHOWN, _SLICES, _VOCABULARY = 15, 60, 5


@dataclass(frozen=True)
class Declared:
    """What feature tables say of the columns of a training set.

    Args:
        personal: Those with personal data.
        units: Column to the unit of its values.
    """

    personal: frozenset[str] = frozenset()
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card(Drawn):
    """The card of a version.

    Args:
        version: Which one, with its training set.
        said: What people say of it.
        spec: What it reads and gives; None for a model of others.
        metrics: Of the evaluation, by name.
        report: Its newest gate report under the present configuration; None where there is none.
        sensitive: Columns of which nothing is shown.
        units: Input to the unit of its values.
        explanation: What its predictions hang on; None where that was not computed.
    """

    version: ModelVersion
    said: CardSection
    spec: ModelSpec | None
    metrics: Mapping[str, float]
    report: GateReport | None
    sensitive: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    explanation: Explanation | None = None

    def html(self) -> str:
        """The card as one page that needs nothing else."""
        page: str = _page().render(card=self)
        return page.lstrip()

    def markdown(self) -> str:
        """The card as Markdown."""
        return _markdown().render(card=self).lstrip()

    @property
    def sayings(self) -> tuple[tuple[str, str], ...]:
        """Title and text of what people say."""
        return tuple((title, getattr(self.said, key).strip() or _NOTHING) for title, key in _SAID)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Title and text of what is on record of the model and its data."""
        data, spec = self.version.training_set, self.spec
        made = ", ".join(f"{table} at version {version}" for table, version in sorted(data.inputs.items())) or "no recorded tables"
        model = "a model of others"
        if spec is not None:
            layers = f", hidden layers {' × '.join(map(str, spec.hidden))}" if spec.hidden else ""
            model = f"{spec.kind}, {spec.target.task}{layers}; {len(spec.inputs)} inputs; predicts {', '.join(name for name, _ in spec.outputs[:5])}"
        rows = f"{data.rows:,} rows of {data.snapshot.table} at version {data.snapshot.version}"
        return (
            ("Model", model),
            ("Training set", f"{data.id}: {rows}"),
            ("Made from", made),
            ("Content hash", data.content_hash),
            ("Digest", self.version.digest),
        )

    @property
    def figures(self) -> tuple[tuple[str, str], ...]:
        """Name and value of the metrics of the evaluation."""
        found = sorted((name.removeprefix("evaluation_"), value) for name, value in self.metrics.items() if name.startswith("evaluation_"))
        return tuple((name.replace("_", " "), f"{value:,.0f}" if name == "rows" else f"{value:.4g}") for name, value in found)

    @property
    def inputs(self) -> tuple[tuple[str, str, str, str], ...]:
        """The signature: name, type, unit, and what training learnt of each input; of a sensitive one that is nothing."""
        found = _learnt(self.spec, self.sensitive) if self.spec is not None else ()
        return tuple((name, kind, self.units.get(name, ""), text) for name, kind, text in found)

    @property
    def slices(self) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
        """Each slice with its figures, as gates found them; values of a sensitive column are not among them."""
        cuts: dict[str, list[tuple[str, str]]] = {}
        for result in self.report.results if self.report is not None else ():
            for name, value in result.found.items():
                cut, _, figure = name.rpartition(" ")
                if "=" in cut and cut.partition("=")[0] not in self.sensitive:
                    cuts.setdefault(cut, []).append((figure.replace("_", " "), f"{value:.4g}"))
        return tuple((cut, tuple(figures)) for cut, figures in list(cuts.items())[:_SLICES])

    @property
    def bars(self) -> tuple[tuple[str, tuple[tuple[str, str, float], ...]], ...]:
        """Title, and (input, value, share of the longest bar) of each picture of the explanation."""
        found = self.explanation
        if found is None:
            return ()
        pictures = (
            (f"Permutation importance: {found.measured}", found.importance),
            (f"SHAP: mean absolute contribution to {found.output}", found.shap),
        )
        return tuple((title, _bars(values)) for title, values in pictures)

    @property
    def rows(self) -> tuple[tuple[str, tuple[tuple[str, str, str, str], ...]], ...]:
        """Title, and (input, value, SHAP, LIME) of each single row, the strongest first."""
        found = self.explanation
        if found is None:
            return ()
        titles = ("The lowest prediction", "One in the middle", "The highest prediction")
        return tuple(
            (
                f"{title}: {row.prediction:.4g}",
                tuple(
                    (name, row.values[name], f"{row.shap[name]:+.3g}", f"{row.lime[name]:+.3g}" if row.lime else "")
                    for name in sorted(row.shap, key=lambda name: -abs(row.shap[name]))[:8]
                ),
            )
            for title, row in zip(titles, found.single, strict=True)
        )


def _learnt(spec: ModelSpec, sensitive: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    hidden = "personal data: nothing is shown"
    for number in spec.numeric:
        gaps = "may be missing" if number.indicator else "never missing in training"
        text = f"mean {number.mean:.4g}, deviation {number.scale:.4g}, {gaps}"
        yield number.name, number.type, hidden if number.name in sensitive else text
    for category in spec.categorical:
        known = f"{len(category.vocabulary)} values: {', '.join(category.vocabulary[:_VOCABULARY])}{', …' if len(category.vocabulary) > _VOCABULARY else ''}"
        text = f"hashed into {category.buckets} buckets" if category.buckets else known
        yield category.name, category.type, hidden if category.name in sensitive else text
    for array in spec.arrays:
        yield array.name, array.type, f"{len(array.mean)} numbers"


def _bars(values: Mapping[str, float]) -> tuple[tuple[str, str, float], ...]:
    longest = max((abs(value) for value in values.values()), default=0.0) or 1.0
    order = sorted(values, key=lambda name: -values[name])[:_SHOWN]
    return tuple((name, f"{values[name]:.3g}", max(values[name], 0.0) / longest) for name in order)


@cache
def _page() -> Template:
    return template(PAGE, percent=lambda share: f"{100 * share:.1f}%", plain=lambda verdict: verdict.replace(" ", "-"))


@cache
def _markdown() -> Template:
    return template(MARKDOWN, cell=_cell)


def _cell(text: object) -> Markup:
    """Text of one line that is neither markup nor the end of a cell; quotes stay as people wrote them."""
    plain = " ".join(str(text).split())
    return Markup(plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|"))  # noqa: S704 - what could open a tag is escaped
