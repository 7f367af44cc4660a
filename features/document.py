"""The generated page of features: `python -m features.document > docs/features.md`."""

import sys
from math import isinf

from features.definitions import AFFINITY, VIEWS
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.cohort import TASTES
from features.definitions.profile import ATTRIBUTES
from features.kinds import Feature, shown_span
from features.layout import layout_of
from features.spec import counters_of

HEAD = """\
# Features

Generated from `features/definitions` by `python -m features.document`; a test compares.

Every feature is a decayed counter or is read from decayed counters: an event counts one (or
its value) and fades with the half-life in the name, so `clicked_hl7d` is a count of clicks in
which one a week old weighs a half. `total` never fades. *Active hours* count any human
engagement once per hour of the recipient's own clock; a *session* is such an hour that no
machine can have made. A value is always computed at the moment it is asked for, in training and
in serving by the same function.

**Doubt.** An open may be a mail client's, a click soon after delivery a scanner's. They are
counted apart, and a feature reads them only while no machine open (or machine click) of the same
recipient is younger than 180 days: see [actors](actors.md). Opt-outs count whoever clicked.
"""


def half_life_of(feature: Feature) -> str:
    """The half-lives that a feature is read from, in words."""
    spans = dict.fromkeys(counter.half_life for counter in counters_of([feature]))
    return " and ".join("never" if isinf(span) else shown_span(span) for span in spans) or "-"


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for view in VIEWS:
        parts.append(f"\n## {view.name}: one row per {view.entity}\n")
        parts.append("\n| feature | what it is | half-life | unit | range |\n")
        parts.append("| --- | --- | --- | --- | --- |\n")
        for feature in view.features:
            meaning, unit, span = feature.describe()
            fades = half_life_of(feature)
            parts.append(f"| `{feature.name}` | {meaning} | {fades} | {unit} | {span} |\n")
        if view.rhythm_half_life is not None:
            parts.append(
                "\nBeside them a *rhythm*: 168 decayed counts of active hours by hour of the week, "
                "Monday 00 local first, and an *exposure*: 168 decayed counts of mails delivered; "
                f"both half gone after {shown_span(view.rhythm_half_life)}. "
                "Opens and quick clicks are kept apart in it and voided as everywhere.\n"
            )
        if layout_of(view).is_person:
            parts.append(
                "\nAnd a *profile* in words, the newest that any event said: time zone with its "
                f"offset, {', '.join(ATTRIBUTES)}. It is for slices, cohorts and rules.\n"
            )
    parts.append("\n## affinity_features: one row per recipient and item\n\n")
    parts.append(f"Interest fades with a half-life of {shown_span(AFFINITY.half_life)}; ")
    weights = ", ".join(f"{kind.value} {weight:g}" for kind, weight in AFFINITY.weights.items())
    parts.append(f"an event adds to each of its topics and to its item: {weights}.\n")
    parts.append("\n| feature | what it is |\n| --- | --- |\n")
    parts += [f"| `{name}` | {meaning} |\n" for name, meaning in AFFINITY_FEATURES]
    parts.append("\n## cohort_affinity_features: one row per cohort and item\n\n")
    parts.append(
        "The same interests of a *cohort*: of all events that tell the same country. They fade "
        f"with a half-life of {shown_span(TASTES.half_life)}; who has shown no interest is given "
        "those of the own country, for everybody else they are missing.\n"
    )
    parts.append("\n| feature | what it is |\n| --- | --- |\n")
    parts += [f"| `{name}` | {meaning} |\n" for name, meaning in COHORT_FEATURES]
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
