"""The text format, read back by the reference parser."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxy.observe.exposition import SAMPLES_A_PIECE, family, histogram, labels


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30))
def test_any_label_value_survives(value: str) -> None:
    text = "".join(family("banyan_x", "gauge", "Meaning.", [(labels(route=value), 1)]))
    [parsed] = text_string_to_metric_families(text)
    assert parsed.samples[0].labels == {"route": value}


def test_help_is_escaped() -> None:
    text = "".join(family("banyan_x", "gauge", "One\ntwo \\ three.", [("", 1)]))
    assert text.splitlines()[0] == r"# HELP banyan_x One\ntwo \\ three."


def test_a_histogram_is_cumulative_and_ends_with_inf() -> None:
    samples = histogram(labels(side="new"), ("0.1", "1"), [2, 0, 3], 7.5)
    text = "".join(family("banyan_d", "histogram", "Meaning.", samples))
    assert text.splitlines()[2:] == [
        'banyan_d_bucket{side="new",le="0.1"} 2',
        'banyan_d_bucket{side="new",le="1"} 2',
        'banyan_d_bucket{side="new",le="+Inf"} 5',
        'banyan_d_sum{side="new"} 7.5',
        'banyan_d_count{side="new"} 5',
    ]


def test_a_long_family_comes_in_pieces() -> None:
    count = SAMPLES_A_PIECE * 3
    samples = ((labels(route=str(i)), i) for i in range(count))
    pieces = list(family("banyan_x", "gauge", "Meaning.", samples))
    assert len(pieces) == 4
    [parsed] = text_string_to_metric_families("".join(pieces))
    assert len(parsed.samples) == count
