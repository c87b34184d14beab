"""AR4SI values, their tiers, and the status that comes of them."""

import itertools

import pytest

from attest_pipeline.ear import CLAIM_VALUES, RANK, Claim, Status, status_of, tier, worst


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ((0,), None),
        ((-1, 1), Status.NONE),
        ((2, 3, 31, -2, -32), Status.AFFIRMING),
        ((32, 95, -33, -96), Status.WARNING),
        ((96, 97, 99, 127, -97, -128), Status.CONTRAINDICATED),
    ],
)
def test_the_borders_of_the_tiers_are_those_of_ar4si(values: tuple[int, ...], status: Status | None) -> None:
    assert {tier(value) for value in values} == {status}


@pytest.mark.parametrize("value", [128, -129, 1 << 64])
def test_a_value_that_is_no_signed_byte_has_no_tier(value: int) -> None:
    with pytest.raises(ValueError, match="signed byte"):
        tier(value)


def test_every_status_has_its_own_rank_and_none_never_hides_behind_a_better_one() -> None:
    assert sorted(RANK, key=RANK.__getitem__) == [
        Status.AFFIRMING,
        Status.WARNING,
        Status.NONE,
        Status.CONTRAINDICATED,
    ]


def test_the_worst_of_several_does_not_depend_on_their_order() -> None:
    for statuses in itertools.product(Status, repeat=3):
        found = {worst(list(order)) for order in itertools.permutations(statuses)}
        assert found == {max(statuses, key=RANK.__getitem__)}


def test_nothing_claimed_is_no_trust() -> None:
    assert worst([]) is Status.NONE
    assert status_of({}) is Status.NONE
    assert status_of(dict.fromkeys(Claim, 0)) is Status.NONE


def test_a_claim_that_says_nothing_does_not_spoil_one_that_does() -> None:
    assert status_of({Claim.HARDWARE: 2, Claim.FILE_SYSTEM: 0}) is Status.AFFIRMING


@pytest.mark.parametrize(("bad", "status"), [(1, Status.NONE), (32, Status.WARNING), (96, Status.CONTRAINDICATED)])
def test_one_bad_claim_decides_the_status(bad: int, status: Status) -> None:
    vector: dict[str, int] = dict.fromkeys(Claim, 2)
    for claim in Claim:
        assert status_of(vector | {claim: bad}) is status


def test_every_symbolic_value_lies_in_a_tier_and_every_claim_can_be_affirmed_and_contraindicated() -> None:
    for claim in Claim:
        tiers = {tier(value) for value in CLAIM_VALUES[claim].values()}
        assert {Status.AFFIRMING, Status.CONTRAINDICATED} <= tiers
        assert None not in tiers
