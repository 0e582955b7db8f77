"""The serving graph's inputs and outputs, by name: what the exporter writes and the predictor expects."""

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind

CTR_OUTPUT = "ctr"  # [C], calibrated click-through rates
WEIGHTS_OUTPUT = "activation_weights"  # [C, T], raw; only in networks with an activation unit

# Legend: C = candidates, T = behaviours, M = slots of a multi-valued feature.


def candidate_input(feature: Feature) -> str:
    return f"candidate_{feature.name}"


def behaviour_input(feature: Feature) -> str:
    return f"behaviour_{feature.name}"


def request_input(feature: Feature) -> str:
    """Input of a user or context feature."""
    return f"{feature.group}_{feature.name}"


def graph_inputs(schema: FeatureSchema) -> dict[str, tuple[str | int, ...]]:
    """Every input of the graph and its shape, in order: int64, "C" and "T" free from 0 or 1 on.

    Candidates are [C] or [C, M], behaviours [T] or [T, M] oldest first, user and context features [1] or [1, M].
    """
    inputs: dict[str, tuple[str | int, ...]] = {}
    for feature in schema.group(Group.ITEM):
        inputs[candidate_input(feature)] = ("C", *_slots(feature))
    for feature in schema.group(Group.ITEM):
        inputs[behaviour_input(feature)] = ("T", *_slots(feature))
    for feature in (*schema.group(Group.USER), *schema.group(Group.CONTEXT)):
        inputs[request_input(feature)] = (1, *_slots(feature))
    return inputs


def _slots(feature: Feature) -> tuple[int, ...]:
    return (feature.max_values,) if feature.kind is Kind.MULTI else ()
