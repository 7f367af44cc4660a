"""Which of two texts does better: subject lines and headlines from comparisons of the past.

TF-IDF of words and of characters within words, and a logistic regression on the difference of
two texts (Bradley and Terry 1952, with the words as what makes strength). Nothing is downloaded:
no embedding of anybody's is needed, and a sender's own words weigh what they weigh with that
sender's people. A truncated SVD before the regression was tried and lost 0.02 of accuracy.

Failure mode: texts compared again and again stand in many comparisons; a split that tells them
apart by comparison only measures memory. Judge it on comparisons that share no text with those
of the fit (`grouped`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion

from training.errors import TooFewRowsError

MIN_COMPARISONS: Final = 100
# Half the strength of the usual ridge: there are more words than comparisons.
_RIDGE: Final = 0.05

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextChoice:
    """Texts to strengths; only differences of strengths say anything."""

    space: Any
    weights: Floats

    def strength(self, texts: Sequence[str]) -> Floats:
        """Log odds against a text of no known word, shape (n,)."""
        return np.asarray(self.space.transform(texts) @ self.weights, dtype=np.float64)

    def p_first(self, first: Sequence[str], second: Sequence[str]) -> Floats:
        """Chance that each first text does better than the second beside it, shape (n,)."""
        return np.asarray(expit(self.strength(first) - self.strength(second)))


def fit_text_choice(
    first: Sequence[str], second: Sequence[str], has_won: NDArray[np.bool_], weight: Floats
) -> TextChoice:
    """Learn strengths from comparisons.

    Args:
        has_won: Whether the first did better, shape (n,).
        weight: How sure that is, such as |z| of the difference; shape (n,).

    Raises:
        TooFewRowsError: Fewer than 100 comparisons, or the first always did better, or never, or
            hardly a word comes again.
    """
    remedy = "add comparisons of other texts"
    if len(first) < MIN_COMPARISONS or len(set(has_won.tolist())) < 2:
        what = f"comparisons, {int(has_won.sum())} won by the first"
        raise TooFewRowsError(
            "text", rows=len(first), need=MIN_COMPARISONS, what=what, remedy=remedy
        )
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=5, sublinear_tf=True, max_features=60_000
    )
    space = FeatureUnion([("words", words), ("letters", letters)])
    texts = sorted({*first, *second})
    try:
        space.fit(texts)
    except ValueError as error:  # no word is left
        what = "different texts, hardly a word of which comes again"
        raise TooFewRowsError(
            "text", rows=len(texts), need=MIN_COMPARISONS, what=what, remedy=remedy
        ) from error
    difference = space.transform(first) - space.transform(second)
    model = LogisticRegression(C=_RIDGE, fit_intercept=False, max_iter=300)
    model.fit(difference, has_won, sample_weight=weight)
    return TextChoice(space, model.coef_[0])


def grouped(first: Sequence[str], second: Sequence[str], test: Sequence[str]) -> Ints:
    """A number per comparison, the same for all that share a test or a text with each other.

    Comparisons of different numbers have nothing in common, so that splitting by it is honest.
    """
    texts, place = np.unique([*first, *second], return_inverse=True)
    tests, of_test = np.unique(np.asarray(test), return_inverse=True)
    n = len(texts) + len(tests)
    edges = place, np.tile(of_test + len(texts), 2)
    graph = sparse.coo_matrix((np.ones(len(place)), edges), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    return np.asarray(group[place[: len(first)]], dtype=np.int64)
