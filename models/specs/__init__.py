"""The models, one file each, all of them listed here."""

from models.spec import ModelSpec
from models.specs import churn, content_preference, send_time

SPECS: tuple[ModelSpec, ...] = (send_time.SPEC, churn.SPEC, content_preference.SPEC)
BY_NAME: dict[str, ModelSpec] = {spec.name: spec for spec in SPECS}
