import math

import numpy as np
import pytest
import torch

from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.registry import Network, NetworkName, build_network
from dinrank.training.data.batches import make_batch
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.measure.metrics import all_metrics
from dinrank.training.measure.predict import evaluate, predict


@pytest.fixture
def network(encoded_dataset: EncodedDataset) -> Network:
    torch.manual_seed(0)
    config = NetworkConfig(embedding_dim=4, embedding_std=1.0, tower=(8,), unit=(4,), dropout=0.5)
    return build_network(NetworkName.DIN, encoded_dataset.encoder.schema, config)


def test_a_prediction_is_the_sigmoid_of_the_rows_own_logit(network: Network, encoded_dataset: EncodedDataset) -> None:
    """In the order asked for, without dropout, and whatever rows are asked for besides."""
    impressions = encoded_dataset.split_rows["valid"][::-5]
    network.eval()
    with torch.no_grad():
        logits = [network(make_batch(encoded_dataset, row[None]).inputs).logit_UC.item() for row in impressions]
    expected = [1 / (1 + math.exp(-logit)) for logit in logits]
    np.testing.assert_allclose(predict(network.train(), encoded_dataset, impressions), expected, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_network_as_it_was(
    network: Network, encoded_dataset: EncodedDataset, training: bool
) -> None:
    network.train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    predict(network, encoded_dataset, encoded_dataset.split_rows["valid"])
    assert network.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_split_is_evaluated_on_its_own_rows(network: Network, encoded_dataset: EncodedDataset) -> None:
    rows = encoded_dataset.split_rows["test"]
    ctr = predict(network, encoded_dataset, rows)
    expected = all_metrics(encoded_dataset.user_N[rows], encoded_dataset.clicked_N[rows] == 1.0, ctr)
    assert evaluate(network, encoded_dataset, "test") == expected
