"""Churn: the chance that a recipient shows no sign of life within the horizon."""

from features.definitions.recipient import VIEW
from features.kinds import FOREVER, Decayed, Feature, Rate, Tenure
from models.spec import ModelSpec, Output


def _ages_well(feature: Feature) -> bool:
    """Totals and tenures grow with the calendar: next month's lie outside the training range."""
    match feature:
        case Tenure():
            return False
        case Decayed(half_life=half_life) | Rate(top=Decayed(half_life=half_life)):
            return half_life != FOREVER
        case _:
            return True


SPEC = ModelSpec(
    name="churn",
    entity="recipient",
    inputs=tuple(feature.name for feature in VIEW.features if _ages_well(feature)),
    outputs=(Output("p_churn", unit="probability"),),
    horizon_days=90.0,
    prior=0.5,
    meaning="P(no human engagement or purchase within the horizon), mailing as usual",
)
