"""Comparing two sides: by their rows, or by profiles that were made before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError
from pyspark.sql import DataFrame

from feature_store.scan import Scan
from sparkml_ops.config.drift import DriftSection, Thresholds
from sparkml_ops.drift.anchors import chosen_types, fix_edges
from sparkml_ops.drift.exact import make_exact
from sparkml_ops.drift.measures import judge
from sparkml_ops.drift.profile import Profile, check_types, profiles
from sparkml_ops.drift.report import DriftReport
from sparkml_ops.drift.source import Source, as_source
from sparkml_ops.errors import ContractError

__all__ = ["compare", "compare_profiles", "with_options"]


def compare(
    reference: DataFrame | Scan | Profile,
    current: DataFrame | Scan | Profile,
    columns: Iterable[str] | None = None,
    segments: Iterable[str] = (),
    blocks: str | None = None,
    exact: bool = False,  # noqa: FBT001, FBT002
    *,
    thresholds: Mapping[str, float | None] | None = None,
    settings: DriftSection | None = None,
) -> DriftReport:
    """Compare the distribution of each column between two sets of rows.

    Needs no configuration: plain DataFrames of any session do. The reference's deciles and cells
    are found in two or three passes over it, then one job passes over both sides. Kolmogorov-
    Smirnov and Wasserstein-1 come with guaranteed bounds; further passes make them exact where a
    threshold lies within the bounds. The other statistics are exact for the declared bins: the
    reference's ten equal-depth bins, right-closed, cut at its exact deciles (inverted CDF), where a
    value with a tenth of the rows is a bin of its own; categories are their own bins. A segment is
    compared on the bins of the whole column.

    Verdicts: `drift` where the effect is above its minimum with evidence (false discovery rate at
    most 5 %), `fault` where the missing share rose, `no drift`, and `undecided` where an effect
    above the minimum may be chance, or a side has fewer than `settings.minimum_rows` (100) values.

    Args:
        reference: What is expected; its profile, where that was made before.
        current: What is looked at.
        columns: By default all columns of the reference whose type has statistics.
        segments: Columns each of whose values is compared beside the whole.
        blocks: Column whose rows belong together (a day, a customer): whole blocks are exchanged for p-values.
        exact: Make Kolmogorov-Smirnov and Wasserstein-1 exact always, and Cramér-von Mises where its values fit half of `settings.exact_budget`.
        thresholds: Minimum effects that differ from the defaults: `ks` 0.1, `total_variation` 0.1 (categories), `psi` 0.2, `missing` 0.1.
        settings: Everything else.

    Raises:
        ContractError: A column is missing, has another type on the other side, or a type without statistics;
            a segment column has too many values.
    """
    settings = with_options(settings or DriftSection(), exact=exact, thresholds=thresholds)
    segment_names = tuple(segments)
    if isinstance(reference, Profile) and isinstance(current, Profile):
        return compare_profiles(reference, current, settings)
    if isinstance(current, Profile):
        raise ContractError(
            "a profile as the current side of rows", expected="rows, or profiles on both sides", mend="profile the reference with edges=current.edges"
        )
    source = as_source(current)
    aside = (blocks,) if blocks else ()
    chosen = None if columns is None else tuple(columns)
    if isinstance(reference, Profile):
        if settings.exact:
            raise ContractError("exact=True with a profile", expected="rows on both sides", mend="compare the rows, or leave exact out")
        if chosen is not None and set(chosen) != set(reference.columns):
            raise ContractError(
                f"columns {list(chosen)[:5]} with a profile of {reference.columns[:5]}", expected="the profile's columns", mend="leave columns out"
            )
        check_types(reference.edges.types, source.types)
        return compare_profiles(reference, profiles({"current": source}, reference.edges, segment_names, blocks, settings)["current"], settings)
    base = as_source(reference)
    types = chosen_types(base.types, chosen, aside, settings.views)
    check_types(types, source.types)
    edges = fix_edges(base, types, settings)
    both = profiles({"reference": base, "current": source}, edges, segment_names, blocks, settings)
    return compare_rows((base, source), (both["reference"], both["current"]), segment_names, settings)


def compare_rows(
    sources: tuple[Source, Source], both: tuple[Profile, Profile], segments: tuple[str, ...], settings: DriftSection, *, look: int = 1
) -> DriftReport:
    """Compare profiles whose rows can be passed over again where that decides something."""
    return DriftReport(judge(*both, settings, make_exact(sources, both, segments, settings), look), edges=both[0].edges.id)


def compare_profiles(reference: Profile, current: Profile, settings: DriftSection | None = None) -> DriftReport:
    """Compare two profiles on the same edges, without any pass over rows.

    Raises:
        ContractError: They have different edges.
    """
    if reference.edges.id != current.edges.id:
        raise ContractError(
            f"profiles on the edges {reference.edges.id} and {current.edges.id}",
            expected="the same edges",
            mend="profile the second with edges=first.edges",
        )
    return DriftReport(judge(reference, current, settings or DriftSection(), {}), edges=reference.edges.id)


def with_options(settings: DriftSection, *, exact: bool, thresholds: Mapping[str, float | None] | None) -> DriftSection:
    """Settings with some options replaced.

    Raises:
        ContractError: An unknown statistic in the thresholds, or a value that none can have.
    """
    if unknown := sorted(set(thresholds or {}) - set(Thresholds.model_fields)):
        raise ContractError(f"thresholds of {unknown[:5]}", expected=f"thresholds of {sorted(Thresholds.model_fields)}", mend="correct the names")
    try:
        limits = Thresholds.model_validate(settings.thresholds.model_dump() | dict(thresholds or {}))
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}={item['input']!r}: {item['msg']}" for item in error.errors())
        raise ContractError(f"thresholds {wrong}", expected="numbers in the range of each statistic, or None", mend="correct them") from error
    return settings.model_copy(update={"exact": settings.exact or exact, "thresholds": limits})
