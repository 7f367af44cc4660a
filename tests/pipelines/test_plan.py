"""Numbers of a plan: those of the API to the last bit."""

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.plan import rounded

MIDDLES = st.integers(-(10**12), 10**12).map(lambda n: (2 * n + 1) / 2e6)  # between two millionths

LARGE = st.randoms(use_true_random=False).map(lambda rng: rng.uniform(1e9, 1e12))


def bits(value):
    return struct.pack("d", value)


@given(
    st.lists(st.floats(0, 1, width=32) | st.floats(allow_nan=False) | LARGE | MIDDLES, max_size=20)
)
@example([2.5e-06, -0.0, -1e-9, 0.0000005, 1e300, float("inf")])
def test_columns_are_rounded_as_one_number_is(values):
    assert list(map(bits, rounded(values).tolist())) == [bits(round(value, 6)) for value in values]
