"""What we measure: one file per entity, one line per feature, all of them listed here."""

from features.definitions import affinity, cohort, content, recipient
from features.spec import FeatureView

VIEWS: tuple[FeatureView, ...] = (recipient.VIEW, content.VIEW, cohort.VIEW)
AFFINITY = affinity.AFFINITY
