"""What samples can tell: quantiles and ratios with 95 % intervals, none where they are too few."""

import math
import random
from collections.abc import Sequence
from typing import Any

CONFIDENCE = 0.95
FEWEST = 6  # samples that carry an interval of a median
RESAMPLINGS = 2000

Figure = dict[str, Any]


def summary(samples: Sequence[float], unit: str) -> Figure:
    """The samples with `n`, and median, p95 and p99 where there are enough of them, else null."""
    quantiles = {"median": 0.5, "p95": 0.95, "p99": 0.99}
    told = {name: quantile(samples, q) for name, q in quantiles.items()}
    return {"unit": unit, "n": len(samples), **told, "samples": list(samples)}


def quantile(samples: Sequence[float], q: float) -> dict[str, float] | None:
    """The q-quantile as {"value", "low", "high"}, the interval from exact order statistics.

    None when no two-sided interval exists: below n = 6 for the median, 72 for p95, 368 for p99.
    """
    ordered, n = sorted(samples), len(samples)
    ranks = interval_ranks(n, q)
    if ranks is None:
        return None
    return {"value": point(ordered, q), "low": ordered[ranks[0] - 1], "high": ordered[ranks[1] - 1]}


def point(samples: Sequence[float], q: float) -> float:
    """The q-quantile of at least one sample: the smallest that a share of q does not exceed."""
    return sorted(samples)[max(1, math.ceil(q * len(samples))) - 1]


def middle(samples: Sequence[float]) -> float:
    """The median of at least one sample, as in `quantile`."""
    return point(samples, 0.5)


def interval_ranks(n: int, q: float) -> tuple[int, int] | None:
    """The ranks (from 1) of the samples that enclose the q-quantile with 95 % confidence.

    The number of samples below the quantile is binomial(n, q): the low rank is the largest l with
    P(B < l) <= 2.5 %, the high one the smallest u with P(B >= u) <= 2.5 %. None when either is
    outside 1..n. (David and Nagaraja, Order Statistics, 7.1.)
    """
    tail, below = (1 - CONFIDENCE) / 2, 0.0
    low, high = 0, 0
    for k in range(n + 1):  # `below` is P(B < k)
        if below <= tail:
            low = k
        if not high and 1 - below <= tail:
            high = k
        below += _binomial(n, k, q)
    return (low, high) if low >= 1 and 1 <= high <= n else None


def _binomial(n: int, k: int, q: float) -> float:
    """P(B = k); by logarithms, for the coefficients soon exceed a float."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(q) + (n - k) * math.log(1 - q))


def ratio(over: Sequence[float], under: Sequence[float], seed: int = 0) -> dict[str, float] | None:
    """The ratio of two medians as {"value", "low", "high"}; None when either has n < 6.

    The interval is a percentile bootstrap: samples of one length were taken in the same rounds, and
    are drawn by round; others are drawn each for itself.
    """
    if min(len(over), len(under)) < FEWEST:
        return None
    draw = random.Random(seed)
    ratios = sorted(_resampled(over, under, draw) for _ in range(RESAMPLINGS))
    tail = (1 - CONFIDENCE) / 2
    return {
        "value": middle(over) / middle(under),
        "low": ratios[int(tail * RESAMPLINGS)],
        "high": ratios[int((1 - tail) * RESAMPLINGS) - 1],
    }


def _resampled(over: Sequence[float], under: Sequence[float], draw: random.Random) -> float:
    upper = draw.choices(range(len(over)), k=len(over))
    paired = len(over) == len(under)
    lower = upper if paired else draw.choices(range(len(under)), k=len(under))
    return middle([over[i] for i in upper]) / middle([under[i] for i in lower])


def spread(samples: Sequence[float]) -> float:
    """How far apart the middle half of the samples is, over their median: 0.1 is 10 %."""
    return (point(samples, 0.75) - point(samples, 0.25)) / middle(samples)
