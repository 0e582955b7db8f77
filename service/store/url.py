"""Parser of Redis URLs: one server, a server behind Sentinels, or a cluster."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

from dinrank.service.store.errors import BadRedisUrl

ACCEPTED_FORMS = """\
redis://[user:password@]host[:port][/database]
rediss://...                                        the same over TLS
unix://[user:password@]/path/to/socket[?db=database]
redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]
redis+cluster://[user:password@]host[:port][,host[:port]...]
rediss+sentinel://..., rediss+cluster://...         the same over TLS
with TLS also ?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE"""

_REDIS_PORT, _SENTINEL_PORT = 6379, 26379

_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


class Topology(StrEnum):
    """Kind of Redis deployment."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL.

    Attributes:
        hosts: host and port of the server, the Sentinels or some of the cluster's nodes; empty for a unix socket.
        username, password: of the server or the nodes; Sentinels are used without a login.
        socket_path: of a unix socket, else empty.
        service: the name under which the Sentinels know the server, else empty.
        tls_files: redis-py's names of the files that TLS needs beyond the system's certificates.
    """

    topology: Topology
    hosts: tuple[tuple[str, int], ...] = ()
    socket_path: str = ""
    service: str = ""
    database: int = 0
    is_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_files: dict[str, str] = field(default_factory=dict)

    def place(self) -> str:
        """Describe its location for messages: never with a login."""
        where = self.socket_path or ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"Redis {'' if self.topology is Topology.SERVER else f'({self.topology}) '}at {where}"


def parse_redis_url(url: str) -> RedisUrl:
    """Parse `url`, and refuse parts that would be ignored or would fail at the first request.

    Raises:
        BadRedisUrl: with the accepted forms in the message, and without the URL, which may hold a password.
    """
    try:
        return _parse(url)
    except ValueError as exc:
        raise BadRedisUrl(f"this is not a valid Redis URL: {exc}; accepted forms are\n{ACCEPTED_FORMS}") from exc


def _parse(url: str) -> RedisUrl:
    # No message repeats a part of the URL: in a mistyped one any part may be the password.
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError("it has a fragment (#...); write # in a password as %23")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = (unquote(part) or None for part in login.partition(":"))
    if parts.scheme == "unix":
        return RedisUrl(
            topology=Topology.SERVER,
            socket_path=_socket_path(unquote(parts.path), hosts),
            database=_socket_database(options),
            username=username,
            password=password,
        )
    scheme, _, kind = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
        raise ValueError("its scheme is not one of those below")
    is_tls = scheme == "rediss"
    _require_known(options, _TLS_OPTIONS if is_tls else frozenset())
    topology = Topology(kind or "server")
    service, database = _service_and_database(topology, [unquote(part) for part in parts.path.split("/")[1:]])
    return RedisUrl(
        topology=topology,
        hosts=_hosts(topology, hosts),
        service=service,
        database=database,
        is_tls=is_tls,
        username=username,
        password=password,
        tls_files=options,
    )


def _require_known(options: dict[str, str], known: frozenset[str]) -> None:
    if not set(options) <= known:
        raise ValueError(f"after the ? it takes {', '.join(sorted(known)) or 'nothing'}")


def _socket_path(path: str, host: str) -> str:
    if host:
        raise ValueError("a socket's path begins with a slash, as in unix:///path")
    if not path.strip("/"):
        raise ValueError("it names no socket")
    return path


def _socket_database(options: dict[str, str]) -> int:
    _require_known(options, frozenset({"db"}))
    return _database(options.get("db", "0"))


def _service_and_database(topology: Topology, path: list[str]) -> tuple[str, int]:
    path = [part for part in path if part]
    service = ""
    if topology is Topology.SENTINEL:
        if not path:
            raise ValueError("it lacks the name of the service that the Sentinels watch")
        service, *path = path
    if topology is Topology.CLUSTER and path:
        raise ValueError("a cluster has no numbered databases")
    if len(path) > 1:
        raise ValueError("more follows the number of the database")
    return service, _database(path[0] if path else "0")


def _database(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("a database is a number")
    return int(text)


def _hosts(topology: Topology, text: str) -> tuple[tuple[str, int], ...]:
    default = _SENTINEL_PORT if topology is Topology.SENTINEL else _REDIS_PORT
    hosts = []
    for part in text.split(","):
        split = urlsplit(f"//{part}")  # handles [::1]:6379
        if not split.hostname:
            raise ValueError("a host is missing")
        try:
            hosts.append((unquote(split.hostname), split.port or default))
        except ValueError as exc:
            raise ValueError("a port is not a number from 1 to 65535") from exc
    if topology is Topology.SERVER and len(hosts) > 1:
        raise ValueError(f"it names {len(hosts)} hosts; several go with redis+sentinel or redis+cluster")
    return tuple(hosts)


EMBEDDED = "embedded"  # as the value of `redis`: the service runs its own redis-server
