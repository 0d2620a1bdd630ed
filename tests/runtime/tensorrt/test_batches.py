"""How windows become batches of an engine."""

from __future__ import annotations

import pytest

from fdan_edge.runtime import recognition
from fdan_edge.runtime.tensorrt.batches import PROFILES, Profile, split
from fdan_edge.streaming import offline

ONE = (Profile(1, 1, 16),)


@pytest.mark.parametrize("profiles", [PROFILES, ONE, (Profile(4, 4, 8),), (Profile(1, 2, 3), Profile(3, 6, 9))])
def test_every_window_goes_through_once_and_fits(profiles: tuple[Profile, ...]) -> None:
    for count in range(70):
        end = 0
        for part in split(count, profiles):
            assert part.start == end < part.stop
            assert part.size >= part.stop - part.start
            smallest, _, largest = profiles[part.profile]
            assert smallest <= part.size <= largest
            end = part.stop
        assert end == count


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, [1]),
        (2, [1, 1]),
        (3, [4]),
        (4, [4]),
        (6, [4, 1, 1]),
        (11, [4, 4, 4]),
        (12, [16]),
        (16, [16]),
        (40, [16, 16, 4, 4]),
    ],
)
def test_only_the_sizes_that_kernels_were_chosen_for_are_run(count: int, sizes: list[int]) -> None:
    parts = list(split(count, PROFILES))
    assert [part.size for part in parts] == sizes
    assert all(part.size == PROFILES[part.profile].best for part in parts)
    assert sum(sizes) <= count * 4 / 3  # what is computed for nothing


def test_an_engine_with_one_profile_runs_the_rest_as_it_is() -> None:
    assert [part.size for part in split(43, ONE)] == [16, 16, 11]
    assert [part.size for part in split(44, ONE)] == [16, 16, 16]


def test_engines_are_built_for_the_batches_that_are_run() -> None:
    best = {profile.best for profile in PROFILES}
    assert best == {1, recognition.BATCH, offline._BATCH}


def test_profiles_leave_no_size_out() -> None:
    """Triton asks for any of them."""
    assert [size for low, _, high in PROFILES for size in range(low, high + 1)] == list(range(1, 17))
