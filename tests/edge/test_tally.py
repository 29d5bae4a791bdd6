"""What a worker counts: bounded however long nobody takes it."""

from proxy.core.detection import SLOT_S
from proxy.edge.tally import FAILED, FINE, MAX_SLOTS, Tallies, Tally


def test_trials_of_a_long_time_are_bounded_and_none_is_lost() -> None:
    tally = Tally("a", Tallies())
    for slot in range(1000, 1000 + 3 * MAX_SLOTS):
        tally.trial(slot * SLOT_S, FINE)
        tally.trial(slot * SLOT_S, FAILED)
    tally.trial(0.0, FAILED)  # very late
    trials = tally.take().trials
    assert len(trials) == MAX_SLOTS
    assert sum(counts[FINE] for counts in trials.values()) == 3 * MAX_SLOTS
    assert sum(counts[FAILED] for counts in trials.values()) == 3 * MAX_SLOTS + 1
    newest = 1000 + 3 * MAX_SLOTS - 1
    assert trials[newest] == [0, 0, 1, 1, 0]
