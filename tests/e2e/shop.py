"""An invented shop whose customers have hobbies: data on which it can be seen what a network attends to.

Everybody has three of six hobbies, clicks ads of theirs nine times out of ten, and others hardly ever. Nothing here is
anybody's data.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

HOBBIES = {
    "swimming": [
        "Swimming cap", "Swimming goggles", "Kickboard", "Ear plugs", "Bathing suit", "Pool shoes", "Snorkel", "Fins",
    ],
    "climbing": [
        "Climbing shoes", "Rope, 60 m", "Harness", "Chalk bag", "Carabiner", "Helmet", "Crash pad", "Belay device",
    ],
    "cooking": ["Chef's knife", "Cast-iron pan", "Pepper mill", "Whisk", "Stock pot", "Apron", "Rolling pin", "Wok"],
    "cycling": ["Bicycle pump", "Saddle", "Chain oil", "Cycling jersey", "Tail light", "Inner tube", "Bottle", "Lock"],
    "photography": ["Tripod", "Camera bag", "Lens 50 mm", "Grey card", "Flash", "Memory card", "Filter", "Light meter"],
    "gardening": ["Trowel", "Secateurs", "Watering can", "Rake", "Flower pot", "Seed tray", "Gloves", "Wheelbarrow"],
}  # fmt: skip
NUM_USERS, NUM_VISITS = 500, 40
SCHEMA_TOML = """
[dataset]
name = "shop"
source = "invented"

[behaviours]
max_length = 20

[[features]]
name = "item_id"
group = "item"

[[features]]
name = "hobby"
group = "item"

[[features]]
name = "city"
group = "user"

[[features]]
name = "device"
group = "context"
"""


def item_id(hobby: str, place: int) -> str:
    return f"{hobby[:2]}{place}"


def write_shop(directory: Path) -> Path:
    """Write the dataset directory."""
    directory.mkdir(parents=True)
    (directory / "schema.toml").write_text(SCHEMA_TOML, encoding="utf-8")
    rng = np.random.default_rng(0)
    items = [
        {"item_id": item_id(hobby, place), "hobby": hobby, "title": title}
        for hobby, titles in HOBBIES.items()
        for place, title in enumerate(titles)
    ]
    users = [
        {"user_id": f"u{number}", "city": str(rng.choice(["Basel", "Lyon", "Turin"]))} for number in range(NUM_USERS)
    ]
    pl.DataFrame(items).write_parquet(directory / "items.parquet")
    pl.DataFrame(users).write_parquet(directory / "users.parquet")
    pl.DataFrame(list(_impressions(rng))).write_parquet(directory / "impressions.parquet")
    return directory


def _impressions(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    names = list(HOBBIES)
    for number in range(NUM_USERS):
        own = set(rng.choice(names, size=3, replace=False).tolist())
        for visit in range(NUM_VISITS):
            hobby = str(rng.choice(names))
            yield {
                "user_id": f"u{number}",
                "item_id": item_id(hobby, int(rng.integers(len(HOBBIES[hobby])))),
                "clicked": bool(rng.random() < (0.9 if hobby in own else 0.04)),
                "timestamp": 1_700_000_000 + 86_400 * visit + number,
                "device": str(rng.choice(["phone", "laptop"])),
            }
