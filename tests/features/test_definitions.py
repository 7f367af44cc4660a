"""A view is data: one more line is one more feature, everywhere; a mistake in it is named."""

import numpy as np
import polars as pl
import pytest

from features import batch
from features.assemble import matrix
from features.definitions.recipient import ENGAGED, VIEW, active, clicked
from features.events.schema import Event, EventType
from features.kinds import DAY, Decayed, Recency
from features.layout import layout_of
from features.reading import read
from features.signals import Signal
from features.spec import FeatureView
from tests.features.oracle import DAY_US, NIGHTS, applied, log_and_store


def view_of(*features, hours=active):
    return FeatureView("extended", "recipient", DAY, (*VIEW.features, *features), hours)


def test_one_line_more_is_one_feature_more_in_bulk_and_one_by_one():
    extended = view_of(Decayed(clicked, 3 * DAY))
    events = [Event(str(i), EventType.CLICKED, "ann", at := NIGHTS[0] + i * DAY_US, at)
              for i in range(4)]  # fmt: skip
    at = NIGHTS[0] + 6 * DAY_US
    with log_and_store() as (log, _):
        log.append(events)
        table = batch.event_table(log.scan(), key="recipient_key", layout=layout_of(extended))
        spine = pl.DataFrame({"key": ["ann"], "at": [at]})
        bulk = matrix(batch.read_at(table, spine, layout_of(extended)), extended)
    state = applied(events, extended)["ann"]
    single = matrix(read([state], at, layout_of(extended)), extended)
    assert extended.names[-1] == "clicked_hl3d"
    assert bulk[0, -1] == pytest.approx(sum(2.0 ** -((6 - i) / 3) for i in range(4)), rel=1e-6)
    np.testing.assert_allclose(single, bulk, rtol=1e-6)


def test_a_signal_by_the_hour_of_other_events_is_refused_and_named():
    odd = Signal("odd", frozenset({EventType.CLICKED}), per_hour=True)
    with pytest.raises(ValueError, match="odd is counted by the hour but is not of the same"):
        layout_of(view_of(Decayed(odd, DAY)))


def test_more_times_than_a_state_can_number_are_refused():
    many = [Recency(Signal(f"s{i}", frozenset(ENGAGED))) for i in range(300)]
    with pytest.raises(ValueError, match="a packed state holds 255"):
        layout_of(view_of(*many))


def test_no_two_features_of_a_view_share_a_name():
    assert len(set(VIEW.names)) == len(VIEW.names)
