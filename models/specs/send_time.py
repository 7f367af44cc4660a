"""Send time: when a person is active, and what that makes of each hour as a time to send."""

from features.definitions.recipient import VIEW
from models.spec import HOURS_PER_WEEK, RHYTHM_NAMES, ModelSpec, Output

# What tells how much a person engages at all; the hour itself only comes from the rhythm.
LEVEL = ("opened_per_delivered_hl30d", "clicked_per_delivered_hl30d", "active_hl30d")
_unknown = set(LEVEL) - set(VIEW.names)
if _unknown:
    raise LookupError(f"send_time asks for features that nobody defines: {sorted(_unknown)}")

SPEC = ModelSpec(
    name="send_time",
    entity="recipient",
    inputs=(*RHYTHM_NAMES, *LEVEL),
    outputs=(
        Output("p_engage", unit="probability", width=HOURS_PER_WEEK),
        Output("activity", unit="share of the week", width=HOURS_PER_WEEK),
    ),
    horizon_days=1.0,
    prior=0.10,
    meaning="P(human engagement within 24 h) for a mail sent in each local hour of the week",
)
