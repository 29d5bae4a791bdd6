"""What `banyan status` says below its table."""

from proxy.cli.status import remarks
from proxy.core.messages import Counts
from tests.admin.estate import Estate, a_route
from tests.cli.test_status import api


def test_pairs_that_could_not_be_judged_are_no_silence() -> None:
    estate = Estate(a_route("broken", "shadow-read"), a_route("well", "shadow-read"))
    estate.report(
        Counts(
            "broken",
            eligible=9,
            comparisons={"comparator_failed": 6, "both_failed": 1},
            skipped={"comparer_lost": 2, "conditional": 5},
        ),
        Counts("well", eligible=2, comparisons={"equal": 2}, skipped={"conditional": 5}),
    )
    assert remarks(api(estate)).plain == (
        "broken: not compared: 6 pairs (the comparator failed; the log says how), "
        "2 pairs (their comparer died), 1 pair (both sides failed)"
    )
