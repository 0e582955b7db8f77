"""Requests that no sane caller sends, for hypothesis: broken JSON, bottomless JSON, bytes that are no text."""

import json
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.fixtures.rank_bodies import bodies
from tests.fuzz.stored import HOSTILE_USERS

AD = {"ad_id": "1", "bid": 1.0}
GOOD = {"user_id": "42", "candidates": [AD]}
TOO_LARGE = 10_000_000  # bytes; the service takes 2 MiB


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request.

    Attributes:
        kind: how it was made; a row of the table.
        chunk: send the body in chunks of so many bytes; 0 announces its length.
    """

    kind: str
    body: bytes
    chunk: int = 0
    headers: dict[str, str] = field(default_factory=dict)


def _document(**changed: object) -> bytes:
    return json.dumps(GOOD | changed).encode()


depths = st.sampled_from([10, 100, 127, 128, 200, 201, 1_000, 20_000, 300_000])
nested = st.builds(
    lambda depth, brackets, place: place.replace(b"?", brackets[0] * depth + brackets[1] * depth),
    depths,
    st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b"[", b""), (b'[{"a":', b"}]"), (b'{"user_id":', b"")]),
    st.sampled_from(
        [
            b"?",
            b'{"user_id":"42","candidates":?}',
            b'{"user_id":?,"candidates":[{"ad_id":"1","bid":1}]}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1,"features":{"genre":?}}]}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1}],"context":{"hour":?}}',
        ]
    ),
)
number_texts = st.one_of(
    st.sampled_from([b"NaN", b"-Infinity", b"Infinity", b"1e999", b"-1e999", b"1e-999", b"-0", b"-0.0", b"00", b"1."]),
    st.sampled_from(
        [b"0x1", b"1_0", b".5", b"+1", b"9223372036854775808", b"18446744073709551616", b"1e400", b"5e-324"]
    ),
    st.integers(1, 6_000).map(lambda digits: b"9" * digits),
    st.integers(1, 6_000).map(lambda digits: b"0." + b"0" * digits + b"1"),
    st.integers(-(10**6), 10**6).map(lambda exponent: b"1e%d" % exponent),
    st.floats().map(lambda number: json.dumps(number).encode()),
)
numbers = st.builds(
    lambda number, place: place.replace(b"?", number),
    number_texts,
    st.sampled_from(
        [
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":?}]}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1,"features":{"price":?}}]}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1,"features":{"genre":[?,?]}}]}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1}],"context":{"hour":?}}',
            b'{"user_id":"42","candidates":[{"ad_id":"1","bid":1}],"top_k":?}',
            b'{"user_id":?,"candidates":[{"ad_id":?,"bid":1}]}',
        ]
    ),
)
strange_ids = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("\x00\x01\x7f\u2028\ufeff\uffff{}*?[]:\r\n\"\\'$ \U0001f600"), min_size=1, max_size=300),
    st.sampled_from(["\x00", "}:behaviours", "u:42}", "42\r\nFLUSHALL\r\n", "../../etc/passwd", "${jndi:x}", "%00"]),
)
ids = st.builds(
    lambda user, ad, feature: json.dumps(
        GOOD | {"user_id": user, "candidates": [{"ad_id": ad, "bid": 1, "features": {"genre": [feature]}}]}
    ).encode(),
    strange_ids,
    strange_ids,
    strange_ids,
)
surrogates = st.builds(
    lambda half, place: place.replace(b"?", half),
    st.sampled_from([rb"\ud800", rb"\udfff", rb"\ud83d", rb"\udc00\ud800", rb"\u0000", rb"\ud83d\ude00"]),
    st.sampled_from(
        [b'{"user_id":"?","candidates":[{"ad_id":"?","bid":1}]}', b'{"?":"?"}', b'{"user_id":"42?","candidates":[]}']
    ),
)
stored = st.builds(
    lambda user, ads, explain: _document(
        user_id=user, candidates=[{"ad_id": ad, "bid": 1} for ad in ads], explain=explain
    ),
    st.sampled_from(HOSTILE_USERS),
    st.lists(st.sampled_from(["1", "new", "wrong-type", "deep"]), min_size=1, max_size=50),
    st.booleans(),
)
twice = st.sampled_from(
    [
        b'{"user_id":"1","user_id":2,"candidates":[{"ad_id":"1","bid":1}]}',
        b'{"user_id":"1","candidates":[{"ad_id":"1","bid":1}],"candidates":null}',
        b'{"user_id":"1","candidates":[{"ad_id":"1","bid":-1,"bid":1}]}',
        b'{"user_id":"1","candidates":[{"ad_id":"1","bid":1}]}{"user_id":"2"}',
        b'\xef\xbb\xbf{"user_id":"1","candidates":[{"ad_id":"1","bid":1}]}',
        _document().decode().encode("utf-16"),
        _document().decode().encode("utf-32"),
    ]
)


_RICH = [
    _document(),
    _document(top_k=3, explain=True, context={"hour": "21"}),
    _document(candidates=[AD | {"features": {"genre": ["Comedy", "x"], "price": 12.5}}, {"ad_id": "new", "bid": 0}]),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good body in which some bytes have changed, gone or come."""
    body = bytearray(draw(st.sampled_from(_RICH)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 2)):
            case 0:
                body[place : place + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                del body[place : place + draw(st.integers(1, 8))]
            case _:
                body[place:place] = draw(
                    st.sampled_from([b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b'"', b"\\u"])
                )
    return bytes(body)


HUGE = (
    b" " * TOO_LARGE,
    _document().ljust(TOO_LARGE),
    b'{"user_id":"' + b"x" * TOO_LARGE,
    _document(candidates=[AD] * 70_000),  # within the limit of bytes, and beyond that of candidates
    b"[" * 2_000_000,
    b'{"user_id":"42","candidates":[' + b"{}," * 600_000 + b"{}]}",
    b'{"user_id":"42","candidates":[' + b'{"ad_id":"1","bid":-1},' * 80_000 + b"{}]}",
    _document(context={f"{number:x}": None for number in range(140_000)}),
    _document(**{f"{number:x}": 1 for number in range(140_000)}),
    _document(candidates=[AD | {"features": {"genre": [1] * 600_000}}]),
)
headers = st.sampled_from(
    [{}] * 12
    + [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/problem+json"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Accept": "text/html"},
        {"X-Request-ID": "a" * 5_000},
        {"X-Request-ID": '"><script>'},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "gopher"},
        {"Expect": "100-continue"},
        {"Host": "[::1", "Origin": "null"},
        {"Range": "bytes=0-1", "If-None-Match": "*"},
        {"X-Deadline-Ms": "60000"},
        {"Cookie": "a=b; a=c"},
    ]
)
chunks = st.sampled_from([0] * 12 + [1, 7, 100, 65_536])


def _made(kind: str, strategy: st.SearchStrategy[bytes]) -> st.SearchStrategy[Hostile]:
    return st.builds(Hostile, st.just(kind), strategy, chunks, headers)


_EACH = [
    ("nearly right", bodies, 3),
    ("damaged", damaged(), 6),
    ("nested", nested, 2),
    ("numbers", numbers, 4),
    ("strange ids", ids, 3),
    ("half characters", surrogates, 1),
    ("hostile stored features", stored, 2),
    ("any bytes", st.binary(max_size=400), 2),
    ("said twice, other encodings", twice, 1),
]
small_requests = st.sampled_from([_made(kind, each) for kind, each, weight in _EACH for _ in range(weight)]).flatmap(
    lambda chosen: chosen
)
large_requests = st.builds(Hostile, st.just("huge"), st.sampled_from(HUGE), st.sampled_from([0, 65_536]))
requests = st.integers(0, 999).flatmap(lambda drawn: small_requests if drawn else large_requests)
