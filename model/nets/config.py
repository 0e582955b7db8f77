"""The networks' hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.bundle.schema import Feature, FeatureSchema, Group
from model.layers.embedding import FeatureEmbedding
from model.layers.gru import Evolution
from model.layers.interest import Pooling
from model.layers.mlp import MLP, Activation
from model.layers.tower import Tower


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes and choices of a network; a network reads those that it has a use for.

    Attributes:
        embedding_dim: width of each feature's vector.
        embedding_std: standard deviation of the vectors at the start.
        tower: hidden widths of the MLP that ends in the logit.
        tower_activation: activation of the tower.
        dropout: probability of dropping a hidden unit of the tower in training.
        unit: hidden widths of DIN's activation unit.
        unit_activation: activation of the unit.
        initial_weight: every behaviour's activation weight at the start.
        base_pooling: how the base model pools behaviours: `sum` as the paper, `mean` as YouTube DNN.
        interest_pooling: how DIN pools weighted behaviours: `sum` as the paper, or divided by the number of behaviours
            (`mean`) or its root (`sqrtn`). The weights are raw in all three. DIEN pools plain behaviours so.
        interest_product: feed interest∘candidate to the tower as well.
        evolution: how DIEN's attention enters its second GRU: `augru`, `agru` or `aigru`.
    """

    embedding_dim: int = 32
    embedding_std: float = 0.01
    tower: tuple[int, ...] = (200, 80)
    tower_activation: Activation = Activation.DICE
    dropout: float = 0.0
    unit: tuple[int, ...] = (80, 40)
    unit_activation: Activation = Activation.DICE
    initial_weight: float = 1.0
    base_pooling: Pooling = Pooling.SUM
    interest_pooling: Pooling = Pooling.MEAN
    interest_product: bool = True
    evolution: Evolution = Evolution.AUGRU

    def __post_init__(self) -> None:
        if not self.unit:
            raise ValueError("unit needs at least one hidden layer")
        if self.embedding_dim < 1:
            raise ValueError(f"embedding_dim must be at least 1, not {self.embedding_dim}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def embedding(self, features: Sequence[Feature]) -> FeatureEmbedding:
        return FeatureEmbedding(features, embedding_dim=self.embedding_dim, init_std=self.embedding_std)

    def build_tower(self, schema: FeatureSchema, *, candidate_dim: int) -> Tower:
        """The tower for per-candidate vectors of `candidate_dim` values, next to the schema's user and context."""
        request_embedding = self.embedding((*schema.group(Group.USER), *schema.group(Group.CONTEXT)))
        mlp = MLP(
            candidate_dim + request_embedding.dim, self.tower, activation=self.tower_activation, dropout=self.dropout
        )
        return Tower(request_embedding, mlp)
