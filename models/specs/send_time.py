"""Send time: when a person is active, and what that makes of each hour as a time to send."""

import numpy as np
from numpy.typing import NDArray

from features.definitions.recipient import VIEW
from features.events.schema import DAY_US
from features.signals import DOUBT_US
from models.spec import HOURS_PER_WEEK, RHYTHM_NAMES, ModelSpec, Output

# What tells how much a person engages at all, and whether still; the hour itself only comes from
# the rhythm. Whose opens say nothing is judged by what an open cannot touch.
IF_SEEN = (
    "opened_per_delivered_hl30d",
    "clicked_per_delivered_hl30d",
    "active_hl7d",
    "active_hl30d",
    "active_hl120d",
)
IF_HIDDEN = ("clicked_per_delivered_hl30d", "session_hl7d", "session_hl30d", "session_hl90d")
LEVEL = tuple(dict.fromkeys((*IF_SEEN, *IF_HIDDEN)))
# 1 where the rhythm counts hours of the person's own clock, 0 where it counts hours of UTC.
HAS_ZONE = "has_zone"
# 1 where a machine has opened the recipient's mail of late, see `are_hidden`.
IS_HIDDEN = "opens_are_hidden"
_DOUBTED_BY = "days_since_prefetched"
_unknown = {*LEVEL, _DOUBTED_BY} - set(VIEW.names)
if _unknown:
    raise LookupError(f"send_time asks for features that nobody defines: {sorted(_unknown)}")
_DOUBT_PLACE = VIEW.names.index(_DOUBTED_BY)

SPEC = ModelSpec(
    name="send_time",
    entity="recipient",
    inputs=(*RHYTHM_NAMES, *LEVEL, HAS_ZONE, IS_HIDDEN),
    outputs=(
        Output("p_engage", unit="probability", width=HOURS_PER_WEEK),
        Output("activity", unit="share of the week", width=HOURS_PER_WEEK),
        Output("p_low", unit="probability, 5 % are below", width=HOURS_PER_WEEK),
        Output("p_high", unit="probability, 5 % are above", width=HOURS_PER_WEEK),
        Output("concentration", unit="share of the likeliest cohort"),
    ),
    horizon_days=1.0,
    prior=0.10,
    meaning="P(human engagement within 24 h) for a mail sent in each hour of the week, on the "
    "recipient's own clock where it is known and in UTC where not",
)


def are_hidden(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each recipient's opens say nothing, shape (n,); rows hold the view's features."""
    days = rows[:, _DOUBT_PLACE]
    return np.asarray(days <= DOUBT_US / DAY_US)  # missing is no doubt
