import time

from fob import timeline


def test_a_mark_is_read_back_as_it_was_written() -> None:
    mark = timeline.now("listening")
    assert timeline.parse(mark.line()) == [mark]
    assert mark.json() == {"mark": "listening", "at_ns": mark.at_ns, "at": mark.at}


def test_marks_are_on_the_monotonic_clock_of_this_host() -> None:
    before = time.monotonic_ns()
    mark = timeline.now("x")
    assert before <= mark.at_ns <= time.monotonic_ns()


def test_a_line_that_was_cut_off_is_passed_over() -> None:
    whole = timeline.now("whole")
    for broken in ("", "12", "12 2016", "x 2016 y", "²³ 2016 y", "12  "):
        assert timeline.parse(f"{broken}\n{whole.line()}{broken}") == [whole]


def test_utc_is_written_as_marathon_writes_it() -> None:
    text = timeline.utc_now()
    assert len(text) == len("2016-04-02T23:09:47.123Z")
    assert text.endswith("Z")
