"""The rules by which a divergence counts, one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparators.noise import Judgement, NoiseBounds, RouteNoise, Verdict
from comparators.tally import Differing, Place, PlaceNoise

PRICE: Place = ("$.items[*].price", "value")
TIME: Place = ("$.at", "value")
BUG = [PRICE]


def judge(
    noise: RouteNoise,
    places: list[Place],
    *,
    recheck: bool = True,
    can_ask: bool = True,
) -> Judgement:
    noise.compared(1)
    return noise.judge(places, recheck=recheck, can_ask=can_ask)


def of(noise: RouteNoise, place: Place) -> PlaceNoise:
    return next(found for found in noise.summary() if (found.path, found.kind) == place)


def test_the_first_divergence_is_asked_again_and_counts_when_it_is_there_again() -> None:
    noise = RouteNoise()
    assert judge(noise, BUG) == Judgement(Verdict.ASK, new_too=True)
    assert noise.asked(BUG, [], BUG, BUG) == Judgement(Verdict.DIVERGENT, counting=(PRICE,))
    found = of(noise, PRICE)
    assert (found.verdict, found.counted, found.samples) == ("divergent", 1, 1)


def test_a_divergence_that_vanished_is_noise() -> None:
    noise = RouteNoise()
    judge(noise, BUG)
    assert noise.asked(BUG, [], [], BUG) == Judgement(Verdict.NOISE, noise=(PRICE,))
    found = of(noise, PRICE)
    assert (found.verdict, found.explained, found.vanished, found.share) == ("noise", 1, 1, 0.0)


def test_one_timestamp_on_a_fresh_route_never_looks_broken() -> None:
    noise = RouteNoise()
    for _ in range(100):
        if judge(noise, [TIME]).verdict is Verdict.ASK:
            assert noise.asked([TIME], [TIME], [TIME], [TIME]).verdict is Verdict.NOISE
    found = of(noise, TIME)
    assert (found.counted, found.verdict, found.share) == (0, "noise", 1.0)


def test_beside_noise_a_real_difference_counts_alone() -> None:
    noise = RouteNoise()
    both = [TIME, PRICE]
    judge(noise, both)
    judgement = noise.asked(both, [TIME], both, both)
    assert judgement == Judgement(Verdict.DIVERGENT, counting=(PRICE,), noise=(TIME,))


def test_what_is_not_known_does_not_count_beside_what_counts() -> None:
    noise = RouteNoise()
    noise.control([], n=20)
    judge(noise, BUG)
    noise.asked(BUG, [], BUG, BUG)
    judgement = judge(noise, [PRICE, TIME], can_ask=False)
    assert judgement == Judgement(Verdict.DIVERGENT, counting=(PRICE,), noise=(TIME,))


def test_settled_noise_is_asked_again_only_now_and_then() -> None:
    noise = RouteNoise()
    asks = 0
    for _ in range(320):
        if judge(noise, [TIME]).verdict is Verdict.ASK:
            asks += 1
            noise.asked([TIME], [TIME], None, [TIME])
    assert asks == 11  # the first two, and one in 32
    assert judge(noise, [TIME]).new_too is False


def test_without_recheck_a_signature_is_asked_about_twenty_times() -> None:
    noise = RouteNoise()
    asks = 0
    for _ in range(100):
        judgement = judge(noise, BUG, recheck=False)
        if judgement.verdict is Verdict.ASK:
            assert not judgement.new_too
            asks += 1
            judgement = noise.asked(BUG, [], None, BUG)
        assert judgement.verdict is Verdict.DIVERGENT
    assert asks == 20


def test_controls_by_chance_stand_in_for_own_ones_as_far_as_they_show_the_place() -> None:
    everywhere, rare = RouteNoise(), RouteNoise()
    for noise, equal in ((everywhere, 0), (rare, 9_900)):
        noise.compared(equal + 100)
        noise.control([], n=30)
        for _ in range(99):
            noise.judge(BUG, recheck=False, can_ask=False)
    assert everywhere.judge(BUG, recheck=False, can_ask=True).verdict is Verdict.DIVERGENT
    assert rare.judge(BUG, recheck=False, can_ask=True).verdict is Verdict.ASK


class TestWhenAskingIsImpossible:
    def test_what_is_not_known_is_no_evidence(self) -> None:
        noise = RouteNoise()
        assert judge(noise, BUG, can_ask=False) == Judgement(
            Verdict.UNVERIFIED, unverified=(PRICE,)
        )

    def test_a_verified_signature_counts(self) -> None:
        noise = RouteNoise()
        judge(noise, BUG)
        noise.asked(BUG, [], BUG, BUG)
        assert judge(noise, BUG, can_ask=False).verdict is Verdict.UNVERIFIED  # 1 control pair
        noise.control([], n=19)
        assert judge(noise, BUG, can_ask=False).verdict is Verdict.DIVERGENT

    def test_controls_alone_do_not_confirm_a_rare_divergence(self) -> None:
        """It may be a racing read: that wants a recheck, or, without those, nothing."""
        noise = RouteNoise()
        noise.compared(1000)
        noise.control([], n=50)
        assert judge(noise, BUG, can_ask=False).verdict is Verdict.UNVERIFIED
        assert judge(noise, BUG, can_ask=False, recheck=False).verdict is Verdict.DIVERGENT

    def test_a_rate_that_controls_cannot_hide_counts_all_the_same(self) -> None:
        noise = RouteNoise()
        noise.control([], n=15)
        verdicts = [judge(noise, BUG, can_ask=False).verdict for _ in range(60)]
        assert verdicts[0] is Verdict.UNVERIFIED
        assert verdicts[-1] is Verdict.DIVERGENT

    def test_learned_noise_explains(self) -> None:
        noise = RouteNoise()
        noise.control([TIME])
        noise.control([TIME])
        noise.control([TIME])
        noise.control([TIME])
        assert judge(noise, [TIME], can_ask=False) == Judgement(Verdict.NOISE, noise=(TIME,))

    def test_what_was_left_open_is_settled_once_it_is_known(self) -> None:
        noise = RouteNoise()
        for _ in range(7):
            judge(noise, [PRICE, TIME], can_ask=False)
        assert of(noise, PRICE).unverified == of(noise, TIME).unverified == 7
        noise.control([TIME], n=1)
        for _ in range(40):
            judge(noise, [PRICE, TIME])
            noise.asked([PRICE, TIME], [TIME], [PRICE, TIME], [PRICE, TIME])
        assert (of(noise, PRICE).counted, of(noise, PRICE).unverified) == (47, 0)
        assert (of(noise, TIME).explained, of(noise, TIME).unverified) == (47, 0)

    def test_an_ask_that_was_given_up_is_judged_like_one_that_could_not_be_made(self) -> None:
        noise = RouteNoise()
        assert judge(noise, BUG).verdict is Verdict.ASK
        assert noise.gave_up(BUG).verdict is Verdict.UNVERIFIED
        assert of(noise, PRICE).divergences == 1

    def test_a_recheck_that_new_did_not_answer_is_no_confirmation(self) -> None:
        noise = RouteNoise()
        judge(noise, BUG)
        assert noise.asked(BUG, [], None, BUG).verdict is Verdict.UNVERIFIED


class TestPlaces:
    @pytest.mark.parametrize(
        ("differing", "same"),
        [
            pytest.param([("$.items[*].price", "type")], True, id="another kind"),
            pytest.param([("$.items[*]", "missing")], True, id="above"),
            pytest.param([("$.items[*].price.net", "value")], True, id="below"),
            pytest.param([("body", "coding")], True, id="the whole body"),
            pytest.param([("$.items[*].priced", "value")], False, id="another name"),
            pytest.param([("header:etag", "header")], False, id="a header"),
            pytest.param([("status", "failure")], None, id="no such answer"),
        ],
    )
    def test_whether_legacy_differs_from_itself_there(
        self, differing: list[Place], same: bool | None
    ) -> None:
        assert Differing(differing).at(PRICE[0]) is same

    def test_an_answer_of_another_status_says_nothing_of_the_body(self) -> None:
        noise = RouteNoise()
        judge(noise, BUG)
        failed = [("status", "failure")]
        assert noise.asked(BUG, failed, failed, failed).verdict is Verdict.UNVERIFIED
        assert of(noise, PRICE).samples == 0

    def test_a_status_is_a_place_as_well(self) -> None:
        noise = RouteNoise()
        status = [("status", "failure")]
        judge(noise, status)
        assert noise.asked(status, [], status, status).verdict is Verdict.DIVERGENT

    def test_a_divergence_that_names_no_place_is_of_the_body(self) -> None:
        noise = RouteNoise()
        judge(noise, [])
        assert noise.asked([], [], [("body", "")], None).counting == (("body", ""),)

    def test_a_place_seen_to_differ_beside_another_is_not_clean(self) -> None:
        noise = RouteNoise()
        judge(noise, BUG)
        noise.asked(BUG, [TIME], BUG, BUG)
        judge(noise, [TIME])
        assert noise.asked([TIME], [], [TIME], [TIME]).verdict is Verdict.UNVERIFIED


class TestBounds:
    def test_memory_is_bounded_and_evictions_are_counted(self) -> None:
        noise = RouteNoise(NoiseBounds(places=10))
        for number in range(1_000):
            judge(noise, [(f"$.k{number}" + "x" * 5_000, "value")], can_ask=False)
        assert len(noise.summary()) == 10
        assert noise.forgotten == 990
        assert len(noise.encode()) < 20_000

    def test_a_flood_of_places_seen_once_does_not_push_out_the_others(self) -> None:
        noise = RouteNoise(NoiseBounds(places=10))
        judge(noise, BUG, can_ask=False)
        judge(noise, BUG, can_ask=False)
        for number in range(100):
            judge(noise, [(f"$.k{number}", "added")], can_ask=False)
        assert of(noise, PRICE).divergences == 2

    def test_evidence_decays_with_the_pairs_compared(self) -> None:
        noise = RouteNoise(NoiseBounds(half_life_pairs=100))
        for _ in range(10):
            noise.control([TIME])
        noise.compared(100)
        assert of(noise, TIME).samples == 5
        noise.compared(10_000)
        assert of(noise, TIME).samples == 0
        assert judge(noise, [TIME]).verdict is Verdict.ASK
        assert noise.asked([TIME], [], [TIME], [TIME]).verdict is Verdict.DIVERGENT

    @given(st.lists(st.integers(0, 10_000), max_size=20))
    def test_pairs_told_in_batches_decay_as_if_told_one_by_one(self, batches: list[int]) -> None:
        bounds = NoiseBounds(half_life_pairs=1_000)
        one, many = RouteNoise(bounds), RouteNoise(bounds)
        for batch in batches:
            many.compared(batch)
        for _ in range(min(sum(batches), 20_000)):
            one.compared(1)
        if sum(batches) <= 20_000:
            for noise in (one, many):
                noise.judge(BUG, recheck=True, can_ask=False)
            assert of(one, PRICE).rate == pytest.approx(of(many, PRICE).rate, rel=1e-6)


class TestKeeping:
    def test_what_was_learned_survives_a_restart(self) -> None:
        noise = RouteNoise()
        for _ in range(30):
            judge(noise, [TIME, PRICE])
            noise.asked([TIME, PRICE], [TIME], [TIME, PRICE], [TIME, PRICE])
        noise.control([TIME])
        again = RouteNoise.decode(noise.encode())
        assert again
        assert again.summary() == noise.summary()
        assert again.encode() == noise.encode()
        assert judge(again, [TIME, PRICE], can_ask=False) == judge(
            noise, [TIME, PRICE], can_ask=False
        )

    @pytest.mark.parametrize("data", [b"", b"\x92\x01\xc0", b"\x92\x02\xc0", b"junk"])
    def test_what_is_damaged_or_of_another_version_is_learned_afresh(self, data: bytes) -> None:
        assert not RouteNoise.decode(data)

    def test_the_share_of_a_place_is_told_for_its_signature(self) -> None:
        noise = RouteNoise()
        noise.control([TIME])
        noise.control([], n=3)
        found = noise.place(TIME)
        assert found is not None
        assert (found.share, found.samples, found.explained) == (0.25, 4, 0)
        assert noise.place(PRICE) is None


PLACES = st.lists(
    st.tuples(
        st.sampled_from(
            ["$.a", "$.a[*]", "$.b", "status", "body", "header:etag", "$" + "x" * 2000]
        ),
        st.sampled_from(["value", "missing", "failure"]),
    ),
    max_size=4,
)
EVENTS = st.one_of(
    st.tuples(st.just("compared"), st.integers(0, 10**9)),
    st.tuples(st.just("control"), PLACES),
    st.tuples(st.just("judge"), PLACES, st.booleans(), st.booleans()),
    st.tuples(st.just("asked"), PLACES, PLACES, st.none() | PLACES, st.none() | PLACES),
    st.tuples(st.just("gave_up"), PLACES),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_no_order_of_events_is_too_much_for_it(events: list[tuple[object, ...]]) -> None:
    noise = RouteNoise(NoiseBounds(half_life_pairs=10, half_life_asks=3, places=3))
    for name, *arguments in events:
        if name == "judge":
            places, recheck, can_ask = arguments
            judgement = noise.judge(places, recheck=bool(recheck), can_ask=bool(can_ask))  # type: ignore[arg-type]
            assert can_ask or judgement.verdict is not Verdict.ASK
        else:
            getattr(noise, str(name))(*arguments)
    for place in noise.summary():
        assert 0 <= place.low <= place.share + 1e-9 <= place.high + 2e-9 <= 1 + 4e-9
        assert 0 <= place.rate <= 1
        assert place.vanished <= place.explained
    assert RouteNoise.decode(noise.encode()).encode() == noise.encode()
