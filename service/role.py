"""What a model is served for."""

from enum import StrEnum


class Role(StrEnum):
    """One of several models that are served side by side."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"  # ranks for nobody and is compared
