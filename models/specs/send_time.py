"""Send time: when a person is active, and what that makes of each hour as a time to send."""

from features.definitions.recipient import VIEW
from models.spec import HOURS_PER_WEEK, RHYTHM_NAMES, ModelSpec, Output

# What tells how much a person engages at all, and whether still; the hour itself only comes from
# the rhythm.
LEVEL = (
    "opened_per_delivered_hl30d",
    "clicked_per_delivered_hl30d",
    "active_hl7d",
    "active_hl30d",
    "active_hl120d",
)
# 1 where the rhythm counts hours of the person's own clock, 0 where it counts hours of UTC.
HAS_ZONE = "has_zone"
_unknown = set(LEVEL) - set(VIEW.names)
if _unknown:
    raise LookupError(f"send_time asks for features that nobody defines: {sorted(_unknown)}")

SPEC = ModelSpec(
    name="send_time",
    entity="recipient",
    inputs=(*RHYTHM_NAMES, *LEVEL, HAS_ZONE),
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
