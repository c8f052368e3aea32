from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.change import Place, Watermark, pack_version, parse_gtid
from sinks.errors import FatalError

UUID = "40393555-e77b-11f1-bd79-02fc00000001"
PLACES = st.builds(Place, st.integers(1, 2**62), st.integers(0, 2**31))
SOURCES = st.sampled_from([UUID, f"{UUID}:blue", "other"])


def test_a_gtid_is_a_source_and_a_number() -> None:
    assert parse_gtid(f"{UUID}:23") == (UUID, 23)


def test_a_tag_belongs_to_the_source() -> None:
    assert parse_gtid(f"{UUID}:blue_7:23") == (f"{UUID}:blue_7", 23)


@pytest.mark.parametrize(
    "text", ["", "23", ":23", UUID, f"{UUID}:", f"{UUID}:1-5", f"{UUID}:-1", f"{UUID}:²"]
)
def test_what_is_no_gtid_stops_the_worker(text: str) -> None:
    with pytest.raises(FatalError, match="no usable GTID"):
        parse_gtid(text)


def test_versions_grow_with_the_offset_and_over_generations() -> None:
    assert pack_version(0, 0) == 0
    assert pack_version(0, 2**48 - 1) < pack_version(1, 0)
    assert pack_version(2**15 - 1, 2**48 - 1) == 2**63 - 1


@pytest.mark.parametrize(("generation", "offset"), [(-1, 0), (0, -1), (2**15, 0), (0, 2**48)])
def test_a_version_out_of_range_is_an_error(generation: int, offset: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        pack_version(generation, offset)


@given(SOURCES, PLACES, PLACES)
def test_a_watermark_covers_what_is_not_past_it(source: str, last: Place, place: Place) -> None:
    assert Watermark().advanced(source, last).covers(source, place) == (place <= last)


@given(st.lists(st.tuples(SOURCES, PLACES)))
def test_a_watermark_never_goes_back_and_keeps_sources_apart(changes: list[tuple[str, Place]]) -> None:
    watermark = Watermark()
    for source, place in changes:
        watermark = watermark.advanced(source, place)
    highest = {source: max(p for s, p in changes if s == source) for source, _ in changes}
    assert watermark.places == highest


@given(st.dictionaries(SOURCES, PLACES))
def test_a_watermark_survives_storage(places: dict[str, Place]) -> None:
    assert Watermark.from_json(Watermark(places).as_json()) == Watermark(places)
