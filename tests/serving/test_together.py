"""Single calls that arrive at once are computed together, and nobody can tell from the answers."""

import asyncio
import time

import orjson
import pytest

import serving.decider
from serving.http.app import create_app
from serving.http.arrival import ARRIVED
from serving.http.together import AT_ONCE
from serving.settings import ServingSettings
from tests.serving.conftest import PATIENT_MS

OFTEN = AT_ONCE + 5


@pytest.fixture
def counted(monkeypatch):
    """How many recipients each run of the models had."""
    sizes = []
    real = serving.decider.predict

    def predict(asks, *rest, **more):
        sizes.append(len(asks))
        return real(asks, *rest, **more)

    monkeypatch.setattr(serving.decider, "predict", predict)
    return sizes


async def call(app, body, *, ago_s=0.0, **headers):
    """Status and answer of one call whose bytes came in some seconds ago."""
    told = []
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}

    async def send(message):
        told.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/score", "raw_path": b"/v1/score", "root_path": "", "query_string": b"",
        "headers": named, "state": {ARRIVED: time.monotonic() - ago_s},
    }  # fmt: skip
    await app(scope, receive, send)
    return told[0]["status"], orjson.loads(told[1]["body"])


@pytest.fixture
def played(small_world):
    """Runs something with the app and gives what it returns."""

    def run(play, **more):
        told = {"decision_log": False, "sticky_days": 0, "mlflow_url": ""}
        told = {"data_dir": small_world.data_dir, "deadline_ms": PATIENT_MS, **told, **more}

        async def main():
            app = create_app(ServingSettings(**told), clock=lambda: small_world.now)
            async with app.router.lifespan_context(app):
                return await play(app)

        return asyncio.run(main())

    return run


def bodies_of(world):
    """Calls of every kind: other candidates, none, unknown people, known clocks, effects."""
    items = world.candidates
    kinds = [
        {"candidates": items}, {}, {"candidates": items[:2], "timezone": "Asia/Kolkata"},
        {"candidates": [*items[3:], {"content_id": "new", "topics": ["news"]}], "explain": True},
        {"send_id": "spring", "rules": {"quiet_hours": {"start": "22:00", "end": "08:00"}}},
    ]  # fmt: skip
    people = [*world.people[: OFTEN - 2], "nobody", "somebody"]
    return [{"recipient_key": k, **kinds[n % len(kinds)]} for n, k in enumerate(people)]


def test_answers_are_those_of_calls_that_come_alone(small_world, played, counted, is_complete):
    bodies = bodies_of(small_world)

    async def both(app):
        counted.clear()
        alone = [await call(app, body) for body in bodies]
        one_by_one = list(counted)
        counted.clear()
        together = await asyncio.gather(*(call(app, body) for body in bodies))
        return alone, one_by_one, together

    alone, one_by_one, together = played(both)
    assert together == alone
    assert one_by_one == [1] * len(bodies)
    assert counted == [AT_ONCE, len(bodies) - AT_ONCE]
    for status, answer in together:
        assert status == 200
        is_complete(answer)


def test_a_bad_body_among_them_harms_itself_alone(small_world, played):
    good = {"recipient_key": small_world.people[0]}

    async def some(app):
        return await asyncio.gather(*(call(app, body) for body in (good, {"bad": 1}, good)))

    (first, one), (bad, problem), (last, other) = played(some)
    assert (first, bad, last) == (200, 400, 200)
    assert problem["errors"]
    assert one == other


def test_of_two_calls_about_one_mail_the_second_gets_what_the_first_was_told(
    small_world, played, tmp_path
):
    """Even where it names an item that is better: the mail was decided a moment ago."""
    copy = small_world.copy(tmp_path / "var")

    def mail(*items, **more):
        candidates = [item for item in copy.candidates if item["content_id"] in items]
        return {"recipient_key": copy.people[0], "send_id": "s", "candidates": candidates, **more}

    async def twice(app):
        every = [item["content_id"] for item in copy.candidates]
        _, dry = await call(app, mail(*every, explore=False))
        ranked = [row["content_id"] for row in dry["content"]["ranking"]]
        best, worst = ranked[0], ranked[-1]
        both = mail(worst), mail(best, worst)
        return worst, await asyncio.gather(*(call(app, body) for body in both))

    own = {"data_dir": copy.data_dir, "sticky_days": 30, "epsilon": 0.0, "holdout": 0.0}
    worst, told = played(twice, **own)
    assert [answer["content"]["variant"] for _, answer in told] == [worst, worst]


def test_one_who_came_long_ago_is_told_so_and_the_others_are_scored(small_world, played):
    people = small_world.people

    async def some(app):
        limit_s = PATIENT_MS / 1_000
        return await asyncio.gather(
            call(app, {"recipient_key": people[0]}),
            call(app, {"recipient_key": people[1]}, ago_s=2 * limit_s),
            call(app, {"recipient_key": people[2]}, ago_s=0.7 * limit_s),
            call(app, {"recipient_key": people[3]}, ago_s=0.7 * limit_s, x_on_error="status"),
            call(app, {"recipient_key": people[4]}),
        )

    told = played(some)
    assert [status for status, _ in told] == [200, 200, 200, 503, 200]
    reasons = [answer["fallback"]["reason"] for status, answer in told if status == 200]
    assert reasons == ["none", "deadline", "overloaded", "none"]


def test_one_in_a_hurry_keeps_nobody_from_the_models_word(small_world, played, counted):
    """Whether it can still be scored or not: nobody else is answered by its deadline."""
    people = small_world.people[:OFTEN]

    async def some(app):
        counted.clear()
        hurry = call(app, {"recipient_key": "hurry"}, x_deadline_ms="1")
        patient = (call(app, {"recipient_key": key}) for key in people)
        return await asyncio.gather(hurry, *patient)

    (_, hasty), *others = played(some)
    assert hasty["fallback"]["reason"] in {"deadline", "overloaded", "unknown_recipient"}
    assert {answer["fallback"]["reason"] for _, answer in others} == {"none"}
    assert counted[0] in {1, AT_ONCE}  # alone, or not computed at all


def test_who_is_gone_before_the_answer_harms_nobody(small_world, played):
    people = small_world.people

    async def some(app):
        calls = [asyncio.ensure_future(call(app, {"recipient_key": key})) for key in people[:3]]
        for _ in range(2):
            await asyncio.sleep(0)  # their bodies are read, and none is answered
        calls[1].cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, gone, last = played(some)
    assert isinstance(gone, asyncio.CancelledError)
    assert first[1]["fallback"]["reason"] == last[1]["fallback"]["reason"] == "none"
