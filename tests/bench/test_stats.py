"""What samples can tell, by known answers."""

import pytest

from bench import stats


@pytest.mark.parametrize(
    ("n", "q", "ranks"),
    [
        (5, 0.5, None),
        (6, 0.5, (1, 6)),
        (100, 0.5, (40, 61)),
        (71, 0.95, None),
        (72, 0.95, (64, 72)),
        (2000, 0.5, (956, 1045)),
        (367, 0.99, None),
        (368, 0.99, (360, 368)),
    ],
)
def test_an_interval_is_given_only_where_the_samples_carry_it(
    n: int, q: float, ranks: tuple[int, int] | None
) -> None:
    assert stats.interval_ranks(n, q) == ranks


def test_a_summary_holds_every_sample_and_no_tail_of_few() -> None:
    summary = stats.summary([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], "ms")
    assert summary["samples"] == [3.0, 1.0, 2.0, 5.0, 4.0, 6.0]
    assert summary["median"] == {"value": 3.0, "low": 1.0, "high": 6.0}
    assert summary["p95"] is summary["p99"] is None


def test_the_p99_of_400_samples_is_the_396th() -> None:
    found = stats.quantile(list(range(1, 401)), 0.99)
    assert found is not None
    assert found["value"] == 396
    assert found["low"] < 396 < found["high"] <= 400


def test_a_ratio_is_that_of_the_medians() -> None:
    found = stats.ratio([20.0, 40.0, 60.0, 80.0, 100.0, 120.0], [10.0] * 6)
    assert found is not None
    assert found["value"] == 6
    assert 2 <= found["low"] <= 6 <= found["high"] <= 12


def test_rounds_that_move_together_leave_the_ratio_certain() -> None:
    slow = [10.0, 15.0, 11.0, 30.0, 12.0, 14.0, 28.0]
    found = stats.ratio([2 * value for value in slow], slow)
    assert found == {"value": 2, "low": 2, "high": 2}


def test_no_ratio_has_an_interval_from_five_rounds() -> None:
    assert stats.ratio([1.0] * 5, [1.0] * 400) is None


def test_the_spread_is_that_of_the_middle_half() -> None:
    assert stats.spread([100, 1, 99, 101, 100, 100, 102, 5000]) == pytest.approx(0.02)
