"""Sizes in memory as people write them."""

import re

_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of `512MB`, `2 GiB` or `1000000`.

    Raises:
        ValueError: anything else, or less than one byte.

    >>> parse_size("1.5 kB"), parse_size("2MiB")
    (1500, 2097152)
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].upper() if match else None
    if match is None or unit not in _UNITS or float(match[1]) * _UNITS[unit] < 1:
        raise ValueError(f"{text!r} is no size; write 512MB or 2GB for instance")
    return int(float(match[1]) * _UNITS[unit])
