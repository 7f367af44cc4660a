"""Laws of the scorer: one ask or a thousand, whatever is missing, legal numbers and a reason."""

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from features.candidates import Candidate
from features.definitions import AFFINITY
from features.errors import StateUnreadableError
from features.events.schema import DAY_US, HOUR_US, Event, EventType
from features.packing import pack, unpack
from features.state import State
from models.bundle import load_bundle
from models.runtime import Session
from models.specs import BY_NAME
from models.specs.churn import COMPLAINT, RISKS, UNSUBSCRIBE, theme_of
from serving.asks import Ask, Champions, Loaded
from serving.churn_reasons import SMALLEST
from serving.fallback import FallbackReason as Why
from serving.fallback import worst
from serving.items import CONTENT_LAYOUT, NO_ITEMS, items_of
from serving.known import RECIPIENT_LAYOUT, Known
from serving.scorer import predict

NOW = 1_770_000_000_000_000
ITEMS = tuple(Candidate(f"c{n}", (f"t{n % 3}", f"t{n % 2}")) for n in range(5))
MODELS = ("send_time", "churn", "content_preference")
KINDS = ("sent", "clicked", "purchased", "product_viewed", "cart_added", "unsubscribed")


@pytest.fixture(scope="module")
def champions(bundle_folders):
    return Champions({n: Loaded(load_bundle(f), f"v-{n}") for n, f in bundle_folders.items()})


def state_of(seed, layout=RECIPIENT_LAYOUT):
    rng = np.random.default_rng(seed)
    state = State()
    for n in range(int(rng.integers(5, 40))):
        kind = EventType(KINDS[rng.integers(len(KINDS))] if n else "clicked")
        event = Event(
            f"e{n}", kind, "r", int(NOW - rng.integers(1, 200 * DAY_US)), NOW,
            content_id=f"c{rng.integers(5)}", topics=(f"t{rng.integers(3)}",),
            utc_offset_min=int(rng.integers(-12, 15)) * 60, value=float(rng.integers(1, 90)),
        )  # fmt: skip
        state.apply(event, layout=layout, affinity=AFFINITY, offset=n + 1)
    return state


def crowd(seed, n):
    """Asks of known, silent, unknown and unreadable recipients, mixed."""
    rng = np.random.default_rng(seed)
    asks, people, trouble = [], [], []
    for place in range(n):
        kind = rng.integers(4)
        state = state_of(rng.integers(2**31)) if kind < 2 else None
        if kind == 1:
            sent = Event("s", EventType.SENT, "r", NOW - DAY_US, NOW)
            state = State()
            state.apply(sent, layout=RECIPIENT_LAYOUT, affinity=AFFINITY, offset=1)
        why = Why.NONE if state else (Why.UNKNOWN_RECIPIENT, Why.STATE_UNREADABLE)[place % 2]
        asks.append(Ask(f"r{place}", candidates=ITEMS[: rng.integers(0, 6)]))
        people.append(state)
        trouble.append(why)
    items = {c.content_id: state_of(n, CONTENT_LAYOUT) for n, c in enumerate(ITEMS[:3])}
    return asks, Known(people, items_of(items), trouble)


def is_legal(prediction):
    *weeks, _ = (part[prediction.row] for part in prediction.weeks)
    p, low, high, _ = weeks
    np.testing.assert_array_equal(p, prediction.p_engage)
    assert np.all(low <= p + 1e-6)
    assert np.all(p <= high + 1e-6)
    assert 0 <= prediction.concentration <= 1 + 1e-6
    for part in (*weeks, prediction.p_items):
        assert np.isfinite(part).all()
        assert ((part >= 0) & (part <= 1)).all()
    assert prediction.p_engage.shape == prediction.activity.shape == (168,)
    assert prediction.activity.sum() == pytest.approx(1, abs=1e-4)
    assert 0 <= prediction.p_churn <= 1
    assert prediction.horizon_days > 0
    assert set(prediction.reasons) == set(MODELS)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_one_ask_alone_is_the_same_ask_within_a_batch(champions, seed, n):
    asks, known = crowd(seed, n)
    together = predict(asks, known, champions, at=NOW)
    assert len(together) == n
    for row, ask in enumerate(asks):
        own = Known([known.people[row]], known.items, [known.trouble[row]])
        (alone,) = predict([ask], own, champions, at=NOW)
        found = together[row]
        is_legal(found)
        assert len(found.p_items) == len(ask.candidates)
        np.testing.assert_array_equal(found.p_engage, alone.p_engage)
        np.testing.assert_array_equal(found.p_items, alone.p_items)
        assert found.p_churn == alone.p_churn
        np.testing.assert_equal(dict(found.features), dict(alone.features))
        assert found.reasons == alone.reasons
        expected = known.trouble[row] if known.people[row] is None else found.reasons["churn"]
        assert found.reasons["churn"] is expected


def test_a_known_recipient_is_answered_by_the_models_alone(champions):
    known = Known([state_of(1)], NO_ITEMS, [Why.NONE])
    (found,) = predict([Ask("r", candidates=ITEMS)], known, champions, at=NOW)
    assert set(found.reasons.values()) == {Why.NONE}
    assert found.has_offset
    assert found.newest_at > 0
    assert len(set(found.p_engage.tolist())) > 1


def clicks(offset_min: int | None, zone: ZoneInfo) -> State:
    """Clicks of one evening hour of a zone's clock, week after week, told with a clock or not."""
    state = State()
    for week in range(12):
        evening = datetime(2026, 1, 5, 20, 15, tzinfo=zone) - timedelta(weeks=week)
        at = round(evening.timestamp()) * 1_000_000
        event = Event(f"e{week}", EventType.CLICKED, "r", at, at, utc_offset_min=offset_min)
        state.apply(event, layout=RECIPIENT_LAYOUT, affinity=AFFINITY, offset=week + 1)
    return state


@pytest.mark.parametrize("name", ["Asia/Tokyo", "Asia/Kolkata", "America/Denver", "UTC"])
def test_a_clock_that_only_the_ask_tells_turns_hours_of_utc_into_its_own(champions, name):
    zone = ZoneInfo(name)
    ahead = round(datetime(2026, 1, 5, tzinfo=zone).utcoffset().total_seconds() / 60)
    silent, told = clicks(None, zone), clicks(ahead, zone)
    asked, bare = Ask("r", timezone=name), Ask("r")
    known = Known([silent, told, silent, told], NO_ITEMS, [Why.NONE] * 4)
    turned, own, utc, events = predict([asked, asked, bare, bare], known, champions, at=NOW)

    peak = int(own.activity.argmax())
    # A quarter past eight in Kolkata is in an hour of UTC that begins there at half past seven.
    assert turned.activity.argmax() in ({peak} if ahead % 60 == 0 else {peak - 1, peak})
    if ahead % 60 == 0:
        np.testing.assert_allclose(turned.p_engage, own.p_engage, atol=2e-4)
    if ahead:
        assert utc.activity.argmax() != peak
    np.testing.assert_array_equal(own.p_engage, events.p_engage)
    assert turned.default_hour == own.default_hour


@pytest.mark.parametrize("why", [w for w in Why if w not in {Why.NONE, Why.NO_EVIDENCE}])
def test_without_a_state_the_reason_is_told_and_churn_is_the_base_rate(champions, why):
    (found,) = predict(
        [Ask("r", candidates=ITEMS)], Known([None], NO_ITEMS, [why]), champions, at=NOW
    )
    is_legal(found)
    assert set(found.reasons.values()) == {why}
    prior = champions.by_name["churn"].bundle.manifest.prior
    assert found.p_churn == pytest.approx(prior, abs=1e-6)
    assert found.features == {}
    assert found.active_hours == 0


def test_a_recipient_who_never_engaged_has_no_evidence(champions):
    state = State()
    for n in range(5):
        event = Event(f"s{n}", EventType.SENT, "r", NOW - n * HOUR_US, NOW)
        state.apply(event, layout=RECIPIENT_LAYOUT, affinity=AFFINITY, offset=n + 1)
    (found,) = predict([Ask("r")], Known([state], NO_ITEMS, [Why.NONE]), champions, at=NOW)
    assert found.reasons["send_time"] is found.reasons["churn"] is Why.NO_EVIDENCE


@pytest.mark.parametrize("missing", MODELS)
def test_without_a_model_its_part_alone_is_the_prior_of_the_spec(champions, missing):
    left = Champions({n: model for n, model in champions.by_name.items() if n != missing})
    ask, known = Ask("r", candidates=ITEMS), Known([state_of(1)], NO_ITEMS, [Why.NONE])
    (found,) = predict([ask], known, left, at=NOW)
    is_legal(found)
    assert found.reasons == dict.fromkeys(MODELS, Why.NONE) | {missing: Why.NO_MODEL}
    part = {
        "send_time": found.p_engage, "churn": np.array([found.p_churn]),
        "content_preference": found.p_items,
    }[missing]  # fmt: skip
    np.testing.assert_allclose(part, BY_NAME[missing].prior, atol=1e-6)


@pytest.mark.parametrize("why", [Why.INTERNAL, Why.UNKNOWN_RECIPIENT, Why.STORE_UNAVAILABLE])
def test_the_worst_of_two_reasons_is_told(why):
    (found,) = predict([Ask("r")], Known([None], NO_ITEMS, [why]), Champions(), at=NOW)
    assert found.reasons["churn"] is found.reasons["send_time"] is worst(why, Why.NO_MODEL)


def nan_for_some(spec):
    """A real graph of the spec's shape whose answer is not a number where `clicks` is 13."""
    width = len(spec.inputs)
    nodes = [
        helper.make_node("Slice", ["rows", "begin", "end", "axis"], ["first"]),
        helper.make_node("Sub", ["first", "thirteen"], ["less"]),
        helper.make_node("Div", ["less", "less"], ["sound"]),  # 0 / 0 for thirteen, else one
    ]
    outputs = []
    for output in spec.outputs:
        value = helper.make_tensor(
            f"v_{output.name}", TensorProto.FLOAT, [1, output.width],
            [1 / output.width] * output.width,
        )  # fmt: skip
        nodes += [
            helper.make_node("Constant", [], [value.name], value=value),
            helper.make_node("Mul", ["sound", value.name], [output.name]),
        ]
        outputs.append(
            helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None, output.width])
        )
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("begin", 0), ("end", 1), ("axis", 1))
    ]
    constants.append(helper.make_tensor("thirteen", TensorProto.FLOAT, [1], [13.0]))
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, width])
    graph = helper.make_graph(nodes, spec.name, [rows], outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return Session(made.SerializeToString(), spec)


@pytest.mark.parametrize("name", ["send_time", "churn"])
def test_a_score_that_is_no_number_costs_only_its_own_recipient(champions, name):
    spec = BY_NAME[name]
    bundle = replace(champions.by_name[name].bundle, session=nan_for_some(spec))
    broken = Champions(dict(champions.by_name) | {name: Loaded(bundle, "nan")})
    states = [state_of(n) for n in range(3)]
    place = 0 if name == "churn" else RECIPIENT_LAYOUT.n_counters
    for slot in range(RECIPIENT_LAYOUT.n_slots):
        states[1].slots[slot] = 13.0 if slot == place or name == "churn" else 0.0
    states[1].at = NOW
    asks = [Ask(f"r{n}", candidates=ITEMS) for n in range(3)]
    found = predict(asks, Known(states, NO_ITEMS, [Why.NONE] * 3), broken, at=NOW)
    assert [p.reasons[name] for p in found] == [Why.NONE, Why.BAD_SCORE, Why.NONE]
    for prediction in found:
        is_legal(prediction)


def test_bad_scores_of_items_cost_only_the_recipient_who_was_asked_with_them(champions):
    spec = BY_NAME["content_preference"]
    bundle = replace(champions.by_name[spec.name].bundle, session=nan_for_some(spec))
    broken = Champions(dict(champions.by_name) | {spec.name: Loaded(bundle, "nan")})
    slot = next(
        n for n, (c, _) in enumerate(RECIPIENT_LAYOUT.slots) if c.name == spec.inputs[0]
    )  # fmt: skip
    states = [state_of(n) for n in range(2)]
    states[1].at, states[1].slots = NOW, {slot: 13.0}
    asks = [Ask(f"r{n}", candidates=ITEMS) for n in range(2)]
    found = predict(asks, Known(states, NO_ITEMS, [Why.NONE] * 2), broken, at=NOW)
    assert [p.reasons[spec.name] for p in found] == [Why.NONE, Why.BAD_SCORE]
    np.testing.assert_allclose(found[1].p_items, spec.prior)


def test_a_state_cut_anywhere_is_unreadable_and_never_a_crash():
    blob = pack(state_of(3), RECIPIENT_LAYOUT)
    for length in range(len(blob)):
        with pytest.raises(StateUnreadableError):
            unpack(blob[:length], RECIPIENT_LAYOUT)


def test_the_worst_reason_of_none_is_none():
    assert worst() is Why.NONE
    assert worst(*Why) is Why.INTERNAL


# --- why a churn risk is what it is -----------------------------------------------------------


def test_every_effect_is_what_the_score_loses_without_its_theme(champions):
    asks, known = crowd(3, 40)
    asks = [ask._replace(explain=True) for ask in asks]
    bundle = champions.by_name["churn"].bundle
    typical = dict(zip(bundle.spec.inputs, bundle.manifest.typical, strict=True))
    told = 0
    for found in predict(asks, known, champions, at=NOW):
        if found.reasons["churn"] is not Why.NONE:
            assert not found.effects
            continue
        for theme, effect in found.effects:
            usual = {n: typical[n] for n in bundle.spec.inputs if theme_of(n) is theme}
            row = [(dict(found.features) | usual)[n] for n in bundle.spec.inputs]
            (without,) = bundle.session.run(np.array([row], np.float32))["p_churn"][:, 0]
            assert effect == pytest.approx(found.p_churn - without, abs=2e-6)
            assert abs(effect) >= SMALLEST
            told += 1
        assert [abs(e) for _, e in found.effects] == sorted(
            (abs(e) for _, e in found.effects), reverse=True
        )
    assert told > 5


def test_who_does_not_ask_pays_for_no_explanation(champions):
    asks, known = crowd(3, 40)
    assert not any(found.effects for found in predict(asks, known, champions, at=NOW))


def test_risks_of_the_next_mail_are_the_models_or_the_trades(champions):
    asks, known = crowd(5, 20)
    for found in predict(asks, known, champions, at=NOW):
        assert all(0 < p < 0.2 for p in found.risks)
    for found in predict(asks, known, Champions({}), at=NOW):
        assert found.risks == pytest.approx((RISKS[UNSUBSCRIBE], RISKS[COMPLAINT]))
        assert found.risks.unsubscribe > found.risks.complaint
