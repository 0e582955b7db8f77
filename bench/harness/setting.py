"""Shared constants of these measurements; imports nothing, as every process reads it."""

NUM_ITEMS = 20_000

MAX_BEHAVIOURS = 10_000

MAX_GENRES = 3

GENRES = tuple(f"genre-{number}" for number in range(20))

DECADES = tuple(str(year) for year in range(1920, 2030, 10))

GENDERS = ("f", "m")

AGES = tuple(str(age) for age in range(10, 90))

HOURS = tuple(str(hour) for hour in range(24))

SEED = 0


def item_ids() -> list[str]:
    """Return ids as in real shops: numbers as text."""
    return [str(10_000_000 + 37 * number) for number in range(NUM_ITEMS)]
