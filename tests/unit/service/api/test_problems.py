"""From what went wrong to a problem."""

from dinrank.service.api.problems import PROBLEMS
from dinrank.service.errors import (
    BundleRefused,
    InvalidRequest,
    NotAdmitted,
    PredictionFailed,
    ServiceError,
    TemporarilyUnavailable,
    UnknownUser,
)


def leaves(root: type[ServiceError]) -> set[type[ServiceError]]:
    children = root.__subclasses__()
    return {root} if not children else {leaf for child in children for leaf in leaves(child)}


def test_the_table_holds_every_leaf_of_the_tree_and_nothing_else() -> None:
    assert set(PROBLEMS) == leaves(ServiceError)


def test_who_has_to_act_shows_in_the_status() -> None:
    for error, kind in PROBLEMS.items():
        if issubclass(error, InvalidRequest):
            assert 400 <= kind.status < 500 or kind.status == 501  # as HTTP says of what it is not taken
        elif issubclass(error, TemporarilyUnavailable):
            assert kind.status == 503
        elif issubclass(error, NotAdmitted):
            assert kind.status in (401, 403)
        else:
            assert kind.status == {BundleRefused: 409, PredictionFailed: 500, UnknownUser: 404}[error]


def test_422_is_for_what_is_malformed() -> None:
    assert [kind.name for kind in PROBLEMS.values() if kind.status == 422] == ["malformed-header"]


def test_every_kind_has_a_name_of_its_own() -> None:
    names = [kind.name for kind in PROBLEMS.values()]
    assert len(set(names)) == len(names)
