"""The generated page of features: `python -m features.document > docs/features.md`."""

import sys

from features.definitions import AFFINITY, VIEWS
from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.kinds import shown_span

HEAD = """\
# Features

Generated from `features/definitions` by `python -m features.document`; a test compares.

Every feature is a decayed counter or is read from decayed counters: an event counts one (or
its value) and fades with the half-life in the name, so `clicked_hl7d` is a count of clicks in
which one a week old weighs a half. `total` never fades. *Active hours* count any human
engagement once per hour of the recipient's own clock. A value is always computed at the moment
it is asked for, in training and in serving by the same function.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for view in VIEWS:
        parts.append(f"\n## {view.name}: one row per {view.entity}\n")
        parts.append("\n| feature | what it is | unit | range |\n| --- | --- | --- | --- |\n")
        for feature in view.features:
            meaning, unit, span = feature.describe()
            parts.append(f"| `{feature.name}` | {meaning} | {unit} | {span} |\n")
        if view.rhythm_half_life is not None:
            parts.append(
                "\nBeside them a *rhythm*: 168 decayed counts of active hours by hour of the week, "
                f"Monday 00 local first, half gone after {shown_span(view.rhythm_half_life)}.\n"
            )
    parts.append("\n## affinity_features: one row per recipient and item\n\n")
    parts.append(f"Interest fades with a half-life of {shown_span(AFFINITY.half_life)}; ")
    weights = ", ".join(f"{kind.value} {weight:g}" for kind, weight in AFFINITY.weights.items())
    parts.append(f"an event adds to each of its topics and to its item: {weights}.\n")
    parts.append("\n| feature | what it is |\n| --- | --- |\n")
    parts += [f"| `{name}` | {meaning} |\n" for name, meaning in AFFINITY_FEATURES]
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
