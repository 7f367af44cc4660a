"""A text is the same topics for the event that was clicked and for the candidate that is asked."""

import sys
from datetime import UTC, datetime

import httpx2

from features.events.log import EventLog
from features.events.schema import HOUR_US, SECOND_US

SUBJECT = "Waterproof hiking boots are back, and cheaper"
TOPICS = ["waterproof", "hiking", "boots", "back", "cheaper"]


def test_a_subject_line_clicked_is_the_interest_of_a_candidate_asked_by_it(
    small_world, start_process, tmp_path
):
    copy = small_world.copy(tmp_path / "var")
    moment = datetime.fromtimestamp(small_world.now / SECOND_US, UTC)
    main = "from pipelines.cli import main; main()"
    service = start_process(
        copy.data_dir,
        command=[sys.executable, "-c", main, "serve", "--as-of", f"{moment:%Y-%m-%dT%H:%M:%S}"],
    )
    clicks = [
        {
            "event_id": f"t{n}", "type": "clicked", "recipient_key": "hiker", "text": SUBJECT,
            "occurred_at": (small_world.now - n * HOUR_US) / SECOND_US,
        }
        for n in range(1, 9)
    ]  # fmt: skip
    answer = service.post("/v1/events", {"events": clicks})
    assert answer.json()["accepted"] == len(clicks), answer.text

    asked = {
        "by text": {"text": SUBJECT},
        "by topics": {"topics": TOPICS},
        "spelt otherwise": {"text": "BACK: hiking? Boots! waterproof cheaper"},
        "of something else": {"text": "Silk evening gowns, gloves and hats"},
        "of nothing": {},
    }
    items = [{"content_id": name, **more} for name, more in asked.items()]
    ranking = service.score("hiker", candidates=items, explore=False)["content"]["ranking"]
    p = {one["content_id"]: one["p_click"] for one in ranking}
    assert p["by text"] == p["by topics"] == p["spelt otherwise"]
    assert p["by text"] > p["of something else"]

    told = httpx2.get(f"{service.url}/v1/recipients/hiker").json()
    assert len(told["events"]) == len(clicks)
    service.stop()
    with EventLog(copy.data_dir / "events") as log:
        assert {event.topics for event in log.of_recipient("hiker", limit=50)} == {tuple(TOPICS)}
    for path in copy.data_dir.rglob("*"):
        if path.is_file():
            assert SUBJECT.encode() not in path.read_bytes(), path
