"""Consent: the newest word counts, in whatever order it comes and whichever way it is folded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from features.bulk_states import states
from features.consent import consenting
from features.definitions import AFFINITY
from features.definitions.profile import CONSENT, is_withdrawn
from features.definitions.recipient import VIEW
from features.events.schema import Event, EventType
from features.layout import layout_of
from features.packing import pack, unpack
from features.state import State
from features.stream import Stream
from features.unpacked import unpacked
from tests.features.oracle import DAY_US, NIGHTS, log_and_store, stored

LAYOUT = layout_of(VIEW)
PEOPLE = ("ann", "bob")
W, G = EventType.CONSENT_WITHDRAWN, EventType.CONSENT_GRANTED
KINDS = (W, W, G, G, EventType.CLICKED, EventType.PROFILE_UPDATED)
TOLD = (
    {},
    {"purpose": "profiling"},
    {"purpose": "newsletter"},
    {"purpose": ""},
    {"purpose": "profiling", "country": "DE"},
    {"country": "IS", "mailbox": "gmail"},
)
MOMENTS = st.sampled_from([NIGHTS[0] + n * DAY_US for n in range(4)])


@st.composite
def histories(draw):
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS), st.sampled_from(PEOPLE), MOMENTS, st.sampled_from(TOLD)
            ),
            min_size=1, max_size=8,
        )
    )  # fmt: skip
    return [
        Event(str(i), kind, who, at, at, properties=told)
        for i, (kind, who, at, told) in enumerate(drawn)
    ]


def has_withdrawn(events, who):
    """The definition: of those that speak of profiling the newest; at one moment the withdrawal."""
    words = [
        (e.occurred_at, e.type is W)
        for e in events
        if e.recipient_key == who
        and (
            (e.type is W and e.properties.get("purpose", "") in {"", "profiling"})
            or (e.type is G and e.properties.get("purpose") == "profiling")
        )
    ]
    return max(words, default=(0, False))[1]


def one_by_one(events):
    made = {}
    for event in events:
        state = made.setdefault(event.recipient_key, State())
        state.apply(event, layout=LAYOUT, affinity=AFFINITY)
    return made


@settings(max_examples=20)
@given(histories(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_every_way_holds_the_newest_word(events, cut, random):
    shuffled = random.sample(events, len(events))
    merged = one_by_one(shuffled[:cut])
    for who, state in one_by_one(shuffled[cut:]).items():
        merged.setdefault(who, State()).merge(state, layout=LAYOUT, affinity=AFFINITY)
    with log_and_store() as (log, store):
        for part in (shuffled[:cut], shuffled[cut:]):
            log.append(part)
            Stream(log, store).catch_up()
        streamed = stored(store, VIEW)
        bulk = dict(states(log.scan(), key="recipient_key", layout=LAYOUT, affinity=AFFINITY))
        left = set(consenting(log.scan()).collect()["recipient_key"])
    several = [one_by_one(events), one_by_one(shuffled), merged, streamed, bulk]
    for who in {event.recipient_key for event in events}:
        expected = has_withdrawn(events, who)
        assert [is_withdrawn(made[who].profile) for made in several] == [expected] * len(several)
        assert (who in left) is not expected
        profiles = [made[who].profile for made in several]
        assert all(profile == profiles[0] for profile in profiles)
        again = unpack(pack(streamed[who], LAYOUT), LAYOUT)
        assert again.profile == streamed[who].profile
        (found,) = unpacked([pack(streamed[who], LAYOUT)], LAYOUT).states
        assert found.profile.get(CONSENT) == streamed[who].profile.get(CONSENT)
