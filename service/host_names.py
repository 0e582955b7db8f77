"""Names that an operator gives the service, as `allowed_hosts` has them."""

import ipaddress
import re

_NAME = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")


def parse_host_names(text: str) -> tuple[str, ...]:
    """Names and addresses with commas between them. Raises: ValueError, which names the one that is neither."""
    return tuple(_host_name(each.strip().lower()) for each in text.split(",") if each.strip())


def spell_host_names(names: tuple[str, ...]) -> str:
    """What `parse_host_names` reads the same names from."""
    return ",".join(names)


def _host_name(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        if _NAME.fullmatch(text):
            return text
    raise ValueError(
        f"{text!r} is no host: give names or addresses without scheme, port, wildcard or dot at the end, with commas "
        "between them"
    )
