import json
from dataclasses import asdict

import pytest

from dinrank.model.bundle.graph import behaviour_input, candidate_input, request_input
from dinrank.model.bundle.request import encode_request
from dinrank.model.bundle.schema import Group
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.requests import RequestBuilder
from tests.fixtures.dataset import tiny_dataset


@pytest.fixture(scope="module")
def builder(dataset: Dataset, encoded_dataset: EncodedDataset) -> RequestBuilder:
    return RequestBuilder(dataset, encoded_dataset)


def test_a_request_encodes_to_what_the_trainer_saw(builder: RequestBuilder, encoded_dataset: EncodedDataset) -> None:
    """Every impression of the dataset, after a trip through JSON: no difference between training and serving."""
    data, schema = encoded_dataset, encoded_dataset.encoder.schema
    columns = data.encoder.catalogue.columns
    for row in range(len(data.clicked_N)):
        request = builder.request(row)
        assert json.loads(json.dumps(asdict(request))) == asdict(request)
        arrays = encode_request(data.encoder, request).inputs
        history = data.behaviour_rows_B[data.first_N[row] : data.last_N[row]]
        for feature in schema.group(Group.ITEM):
            column = columns[feature.name]
            assert arrays[candidate_input(feature)].tolist() == column[[data.candidate_rows_N[row]]].tolist()
            assert arrays[behaviour_input(feature)].tolist() == column[history].tolist()
        for feature in (*schema.group(Group.USER), *schema.group(Group.CONTEXT)):
            assert arrays[request_input(feature)].tolist() == [data.request[feature.name][row].tolist()]


def test_a_request_holds_raw_values_as_text(builder: RequestBuilder, dataset: Dataset) -> None:
    impression = dataset.impressions.row(400, named=True)
    user = dict(next(user for user in dataset.users.rows(named=True) if user["user_id"] == impression["user_id"]))
    request = builder.request(400)
    assert request.candidates == [impression["item_id"]]
    assert len(request.behaviours) == dataset.max_behaviours
    assert request.profile == {
        "gender": user["gender"],
        "interests": user["interests"],
        "age": str(user["age"]),
    }
    assert request.context == {
        "hour": str(impression["hour"]),
        "places": impression["places"],
        "position": str(int(impression["position"])),
    }
    assert (request.candidate_attributes, request.behaviour_attributes) == ({}, {})
    assert builder.user_id(400) == impression["user_id"]


def test_more_candidates_follow_the_impressions_own(builder: RequestBuilder, dataset: Dataset) -> None:
    request = builder.request(0, more_candidates=["i3", "no such item"])
    assert request.candidates == [dataset.impressions["item_id"][0], "i3", "no such item"]


def test_a_dataset_without_user_and_context_features_makes_requests(dataset: Dataset) -> None:
    users = dataset.users.select("user_id")
    items_alone = tiny_dataset(dataset.impressions, items=dataset.items, users=users)
    request = RequestBuilder(items_alone, encode_dataset(items_alone, min_count=1)).request(400)
    assert (request.profile, request.context) == ({}, {})
    assert len(request.behaviours) > 0


def test_a_user_without_a_profile_has_an_empty_one(builder: RequestBuilder, dataset: Dataset) -> None:
    row = dataset.impressions["user_id"].to_list().index("newcomer")
    request = builder.request(row)
    assert request.profile == {}
    assert request.behaviours == []
