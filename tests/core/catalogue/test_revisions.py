import pytest

from service.core.catalogue.revisions import RevisionFormatError, encode_revision, includes
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


def test_revisions_of_sixteen_shards_fit_a_header() -> None:
    assert len(revision(*[(10_000_000, "token")] * 17)) < 200
