"""The networks' hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group
from dinrank.model.layers.crosses import Cross, HashedCrosses
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.fields import Fields
from dinrank.model.layers.gru import Evolution
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.linear import LinearTerm
from dinrank.model.layers.mlp import MLP, Activation
from dinrank.model.layers.tower import Tower


class Product(StrEnum):
    """PNN's product of fields."""

    INNER = "inner"
    OUTER = "outer"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Hyper-parameters of a network; each network reads those that apply to it.

    Attributes:
        embedding_dim: width of each feature's vector.
        embedding_std: standard deviation of the vectors at the start.
        tower: hidden widths of the MLP that ends in the logit.
        tower_activation: activation of the tower.
        dropout: probability of dropping a hidden unit of the tower in training.
        unit: hidden widths of DIN's activation unit.
        unit_activation: activation of the unit.
        initial_weight: every behaviour's activation weight at the start.
        pooling: how networks without attention pool behaviours: `sum` as the paper's base model, `mean` as YouTube DNN.
        interest_pooling: how DIN pools weighted behaviours: `sum` as the paper, or divided by the number of behaviours
            (`mean`) or its root (`sqrtn`). The weights are raw in all three. DIEN pools plain behaviours so.
        interest_product: feed interest∘candidate to the tower as well.
        product: which products PNN adds, `inner` or `outer`.
        num_cross_layers: depth of DCN's cross network.
        field_aware_dim: width of each of FFM's vectors, of which a feature value has one per field.
        num_hash_buckets: weights that the crossed features of POLY2 and Wide & Deep share; best a prime.
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
    pooling: Pooling = Pooling.SUM
    interest_pooling: Pooling = Pooling.MEAN
    interest_product: bool = True
    product: Product = Product.INNER
    num_cross_layers: int = 3
    field_aware_dim: int = 4
    num_hash_buckets: int = 1_000_003
    evolution: Evolution = Evolution.AUGRU

    def __post_init__(self) -> None:
        if not self.unit:
            raise ValueError("unit needs at least one hidden layer")
        for name in ("embedding_dim", "field_aware_dim", "num_hash_buckets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.num_cross_layers < 0:
            raise ValueError(f"num_cross_layers must be at least 0, not {self.num_cross_layers}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")

    def embedding(self, features: Sequence[Feature], *, dim: int | None = None) -> FeatureEmbedding:
        """Build an embedding, `embedding_dim` wide unless `dim` is given."""
        width = self.embedding_dim if dim is None else dim
        return FeatureEmbedding(features, embedding_dim=width, init_std=self.embedding_std)

    def fields(self, schema: FeatureSchema, *, dim: int | None = None) -> Fields:
        items, request = (
            self.embedding(features, dim=dim) for features in (schema.group(Group.ITEM), _request(schema))
        )
        return Fields(items, request, self.pooling)

    def linear(self, schema: FeatureSchema) -> LinearTerm:
        candidate, behaviour, request = (
            self.embedding(features, dim=1)
            for features in (schema.group(Group.ITEM), schema.group(Group.ITEM), _request(schema))
        )
        return LinearTerm(candidate, behaviour, request, self.pooling)

    def hashed(self, crosses: Sequence[Cross]) -> HashedCrosses:
        return HashedCrosses(
            crosses, num_buckets=self.num_hash_buckets, init_std=self.embedding_std, pooling=self.pooling
        )

    def mlp(self, input_dim: int) -> MLP:
        """Build the tower's layers on any input."""
        return MLP(input_dim, self.tower, activation=self.tower_activation, dropout=self.dropout)

    def build_tower(self, schema: FeatureSchema, *, candidate_dim: int) -> Tower:
        """Build the tower for per-candidate vectors of `candidate_dim` values and the schema's user and context."""
        request_embedding = self.embedding(_request(schema))
        return Tower(request_embedding, self.mlp(candidate_dim + request_embedding.dim))


def _request(schema: FeatureSchema) -> tuple[Feature, ...]:
    return (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
