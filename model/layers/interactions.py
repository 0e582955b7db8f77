"""Second-order interactions of fields: their vectors multiplied in pairs."""

import torch
from torch import Tensor


# Legend: U = users, C = candidates per user, F = fields, D = width of a field's vector, P = pairs of fields.
def sum_of_pair_products(fields_UCFD: Tensor) -> Tensor:
    """Σ_{f<g} v_f ∘ v_g, in time linear in F: [U, C, D].

    Its sum over D is the interaction term of a factorisation machine. Computed as Σ_g v_g ∘ (Σ_{f<g} v_f), where
    Rendle's ½·((Σ_f v_f)² − Σ_f v_f²) would take a small difference of large squares, and the square of a
    long history's sum is too large for single precision.

    Source: Rendle, "Factorization Machines", ICDM 2010, Eq. 1 and Lemma 3.1.
    """
    before_UCFD = fields_UCFD[..., :-1, :].cumsum(dim=-2)
    return (fields_UCFD[..., 1:, :] * before_UCFD).sum(dim=-2)


def inner_products(fields_UCFD: Tensor) -> Tensor:
    """⟨v_f, v_g⟩ for all f ≤ g, in row-major order: [U, C, P] with P = F·(F + 1)/2.

    Source: Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016, section III, where a
        field's product with itself is one of them.
    """
    products_UCFF = torch.matmul(fields_UCFD, fields_UCFD.transpose(-1, -2))
    first, second = torch.triu_indices(fields_UCFD.shape[-2], fields_UCFD.shape[-2])
    return products_UCFF[..., first, second]


def superposed_outer_product(fields_UCFD: Tensor) -> Tensor:
    """Σ_f Σ_g v_f·v_gᵀ = (Σ_f v_f)·(Σ_g v_g)ᵀ, flattened: [U, C, D²].

    Source: Qu et al., ICDM 2016, section III.C.
    """
    sum_UCD = fields_UCFD.sum(dim=-2)
    return (sum_UCD[..., :, None] * sum_UCD[..., None, :]).flatten(-2)


def field_aware_products(fields_UCFFD: Tensor) -> Tensor:
    """Σ_{f<g} ⟨v_{f,g}, v_{g,f}⟩: [U, C].

    Args:
        fields_UCFFD: v_{f,g}, the vector that field f uses towards field g, at [:, :, f, g].

    Source: Juan et al., "Field-aware Factorization Machines for CTR Prediction", RecSys 2016, Eq. 4.
    """
    num_fields = fields_UCFFD.shape[-2]
    products_UCFF = (fields_UCFFD * fields_UCFFD.transpose(-2, -3)).sum(dim=-1)
    first, second = torch.triu_indices(num_fields, num_fields, offset=1)
    interactions_UC: Tensor = products_UCFF[..., first, second].sum(dim=-1)
    return interactions_UC
