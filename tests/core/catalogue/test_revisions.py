import pytest

from service.core.catalogue.revisions import RevisionFormatError, decode_revision, encode_revision, includes
from service.core.catalogue_store import ShardPosition as Position


def revision(*positions: tuple[int, str]) -> str:
    return encode_revision([Position(*position) for position in positions])


def test_revision_includes_another_if_no_shard_is_behind() -> None:
    old = revision((5, "a"), (0, ""), (300, "c"))
    assert includes(old, old)
    assert includes(revision((6, "x"), (1, "y"), (300, "c")), old)
    assert not includes(revision((6, "x"), (1, "y"), (299, "c")), old)


def test_equal_numbers_of_two_histories_do_not_include_each_other() -> None:
    assert not includes(revision((5, "a")), revision((5, "b")))


@pytest.mark.parametrize("text", ["", "?", "AQ=", "Ag", revision((5, "a"))[:-2], "AYA"])
def test_text_that_is_no_revision_is_refused(text: str) -> None:
    with pytest.raises(RevisionFormatError):
        includes(text, revision((5, "a")))


def test_revision_of_a_copy_that_catches_up_includes_its_positions_and_says_so() -> None:
    positions = [Position(5, "a"), Position(0, ""), Position(300, "c")]
    text = encode_revision(positions, {0, 2})
    assert includes(text, encode_revision(positions))
    assert not includes(text, revision((6, "x"), (0, ""), (300, "c")))
    decoded = decode_revision(text)
    assert decoded.catching_up == {0, 2}
    assert decode_revision(encode_revision(positions)).catching_up == ()
    assert decoded.is_at(0, Position(5, "a")) and decoded.is_at(1, Position(0, ""))
    assert not decoded.is_at(0, Position(5, "b")) and not decoded.is_at(2, Position(301, "c"))


def test_revisions_of_sixteen_shards_fit_a_header() -> None:
    assert len(revision(*[(10_000_000, "token")] * 17)) < 200
