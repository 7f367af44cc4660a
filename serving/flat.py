"""An answer on one level, for templates that cannot look into anything: names, no nesting.

One rule for `GET /v1/render`, and for templates that have the whole answer at hand.
"""

from collections.abc import Mapping
from typing import Any, Final

N_ITEMS: Final = 5  # places in a mail that have a name of their own

Flat = dict[str, str | int | float | bool]


def flat(answer: Mapping[str, Any]) -> Flat:
    """The fields of a score that a template shows or chooses by; every name is always there.

    Args:
        answer: As `POST /v1/score` writes it.
    """
    hour, hold, churn = answer["send_time"], answer["hold"], answer["churn"]
    content, fallback = answer["content"], answer["fallback"]
    items = [row["content_id"] for row in content["ranking"]]
    places = {f"item_{place + 1}": "" for place in range(N_ITEMS)}
    places |= dict(zip(places, items, strict=False))
    return {
        "recipient_key": answer["recipient_key"],
        "send_id": answer["send_id"],
        "decision_id": answer["decision_id"],
        "arm": answer["arm"],
        "best_at": hour["best_at"],
        "best_at_epoch": hour["best_at_epoch"],
        "p_engage": hour["p_engage"],
        "tz": hour["tz"],
        "explanation": hour["explanation"],
        "hold_back": hold["hold_back"],
        "hold_reason": hold["reason"],
        "band": churn["band"],
        "p_churn": churn["p_churn"],
        "variant": content["variant"],
        "propensity": content["propensity"],
        "explored": content["explored"],
        **places,
        "fallback": fallback["used"],
        "reason": fallback["reason"],
        "policy": answer["policy"],
    }
