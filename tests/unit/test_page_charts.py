"""Bar charts of the pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oncopixel_pacs.api.charts import bar_chart

#: At 9 units to the letter, digits and letters are about 5 wide.
LETTER = 5.0


@given(
    st.lists(st.tuples(st.text("0123456789 %", max_size=8), st.floats(0, 1e6)), max_size=60),
    st.integers(1, 8),
)
def test_the_words_below_a_chart_are_not_cut(values: list[tuple[str, float]], marks: int) -> None:
    chart = bar_chart("Studies", values, marks=marks)
    for place, name in chart.marks:
        assert len(name) * LETTER / 2 <= place <= chart.width - len(name) * LETTER / 2


def test_a_word_stands_below_its_bar_where_there_is_room() -> None:
    chart = bar_chart("Studies", [("10 Nov", 1.0), ("17 Nov", 2.0)], marks=2)
    assert [place for place, _ in chart.marks] == [bar.x + bar.width / 2 for bar in chart.bars]
