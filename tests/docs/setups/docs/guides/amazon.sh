# Reviews in the form of the published files, invented: 60 users with 8 reviews each of 40 items.
mkdir -p raw/beauty
python - <<'END'
import json
import random

draw = random.Random(1)
with open("raw/beauty/reviews_Beauty_5.json", "w") as file:
    for user in range(60):
        for day, item in enumerate(draw.sample(range(40), 8)):
            review = {"reviewerID": f"A{user}", "asin": f"B{item:03}", "unixReviewTime": 1_300_000_000 + day * 86_400}
            file.write(json.dumps(review) + "\n")
with open("raw/beauty/meta_Beauty.json", "w") as file:
    for item in range(40):
        file.write(repr({"asin": f"B{item:03}", "categories": [["Beauty", f"Kind {item % 5}"]], "brand": "Zig"}) + "\n")
END
