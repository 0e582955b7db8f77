"""Make a bundle with an untrained network: a request's cost does not depend on the weights."""

from pathlib import Path

import numpy as np
import torch

from bench.harness.setting import (
    AGES,
    DECADES,
    GENDERS,
    GENRES,
    HOURS,
    MAX_BEHAVIOURS,
    MAX_GENRES,
    NUM_ITEMS,
    SEED,
    item_ids,
)
from dinrank.model.bundle.catalogue import Catalogue, column_with_sentinels
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import FIRST_ID, FeatureVocabulary, Vocabulary
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.export.bundle import export_bundle


def make_bundle(out: Path, model: NetworkName) -> None:
    """Write a bundle with three item features, two of the user and one of the context."""
    rng = np.random.default_rng(SEED)
    ids = item_ids()
    features = {
        Feature(ITEM_ID, Group.ITEM, Kind.SINGLE, num_indices=NUM_ITEMS + FIRST_ID): Vocabulary(tuple(ids)),
        Feature("genre", Group.ITEM, Kind.MULTI, num_indices=len(GENRES) + FIRST_ID, max_values=MAX_GENRES): Vocabulary(
            GENRES
        ),
        _single("decade", Group.ITEM, DECADES): Vocabulary(DECADES),
        _single("gender", Group.USER, GENDERS): Vocabulary(GENDERS),
        _single("age", Group.USER, AGES): Vocabulary(AGES),
        _single("hour", Group.CONTEXT, HOURS): Vocabulary(HOURS),
    }
    schema = FeatureSchema(features=tuple(features), max_behaviours=MAX_BEHAVIOURS)
    vocabularies: dict[str, FeatureVocabulary] = {feature.name: known for feature, known in features.items()}
    columns = {
        ITEM_ID: column_with_sentinels(np.arange(NUM_ITEMS, dtype=np.int64) + FIRST_ID),
        "genre": column_with_sentinels(rng.integers(FIRST_ID, len(GENRES) + FIRST_ID, (NUM_ITEMS, MAX_GENRES))),
        "decade": column_with_sentinels(rng.integers(FIRST_ID, len(DECADES) + FIRST_ID, NUM_ITEMS)),
    }
    encoder = Encoder(schema=schema, vocabularies=vocabularies, catalogue=Catalogue(tuple(ids), columns))
    torch.manual_seed(SEED)
    export_bundle(
        out,
        network=build_network(model, schema, NetworkConfig()).eval(),
        name=model,
        encoder=encoder,
        golden_requests=[
            ScoringRequest(
                candidates=ids[:3],
                behaviours=ids[3:8],
                profile={"gender": "f", "age": "30"},
                context={"hour": "21"},
                candidate_attributes={},
                behaviour_attributes={},
            )
        ],
        training={"dataset": "none: random weights", "seed": SEED},
        metrics={},
    )


def _single(name: str, group: Group, tokens: tuple[str, ...]) -> Feature:
    return Feature(name, group, Kind.SINGLE, num_indices=len(tokens) + FIRST_ID)
