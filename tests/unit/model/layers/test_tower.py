import torch

from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.mlp import MLP, Activation
from dinrank.model.layers.tower import Tower

GENDER = Feature("gender", Group.USER, Kind.SINGLE, num_indices=4)
HOUR = Feature("hour", Group.CONTEXT, Kind.SINGLE, num_indices=3)


def linear_tower(*features: Feature, candidate_dim: int, weight: list[float]) -> Tower:
    """A tower whose logit is a weighted sum of what it concatenates, with one number per user or context feature."""
    request_embedding = FeatureEmbedding(features, embedding_dim=1, init_std=1.0)
    mlp = MLP(candidate_dim + request_embedding.dim, [], activation=Activation.RELU)
    with torch.no_grad():
        mlp.last.weight.copy_(torch.tensor([weight]))
        mlp.last.bias.fill_(0.25)
        for table in request_embedding.parameters():
            table.copy_(torch.arange(len(table))[:, None] / 10)  # index i has the number i/10
    return Tower(request_embedding, mlp)


def test_parts_come_first_then_user_and_context_in_schema_order() -> None:
    tower = linear_tower(GENDER, HOUR, candidate_dim=3, weight=[1.0, 10.0, 100.0, 1000.0, 10_000.0])
    parts_UC = [torch.tensor([[[1.0, 2.0]], [[4.0, 5.0]]]), torch.tensor([[[3.0]], [[6.0]]])]
    logit_UC = tower(parts_UC, {"hour": torch.tensor([2, 1]), "gender": torch.tensor([3, 2])})
    # 1·1 + 2·10 + 3·100 + 0.3·1000 + 0.2·10,000 + 0.25, and the same of the second user.
    torch.testing.assert_close(logit_UC, torch.tensor([[2621.25], [4 + 50 + 600 + 200 + 1000 + 0.25]]))


def test_all_candidates_of_a_user_see_the_same_request() -> None:
    tower = linear_tower(GENDER, candidate_dim=1, weight=[1.0, 100.0])
    parts_UC = [torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])]
    logit_UC = tower(parts_UC, {"gender": torch.tensor([2, 3])})
    torch.testing.assert_close(logit_UC, torch.tensor([[21.25, 22.25, 23.25], [34.25, 35.25, 36.25]]))


def test_a_schema_without_user_and_context_needs_no_request() -> None:
    tower = linear_tower(candidate_dim=1, weight=[2.0])
    assert tower([torch.tensor([[[3.0], [4.0]]])], {}).tolist() == [[6.25, 8.25]]
