"""Content preference: the chance that a recipient picks a candidate when shown it."""

from features.definitions.affinity import FEATURES as AFFINITY_FEATURES
from features.definitions.cohort import FEATURES as COHORT_FEATURES
from features.definitions.content import VIEW as CONTENT
from models.spec import ModelSpec, Output

RECIPIENT_INPUTS = ("active_hl30d", "active_hl120d", "clicked_per_delivered_hl30d")
AFFINITY_INPUTS = tuple(name for name, _ in AFFINITY_FEATURES)
COHORT_INPUTS = tuple(name for name, _ in COHORT_FEATURES)  # missing for who has interests
CONTENT_INPUTS = tuple(f"content_{name}" for name in CONTENT.names)

SPEC = ModelSpec(
    name="content_preference",
    entity="candidate",
    inputs=(*RECIPIENT_INPUTS, *AFFINITY_INPUTS, *COHORT_INPUTS, *CONTENT_INPUTS),
    outputs=(Output("p_click", unit="probability"),),
    horizon_days=7.0,
    prior=0.02,
    meaning="P(the recipient clicks or takes the candidate | shown it)",
)
