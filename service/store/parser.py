"""redis-py's reply parser with one bug worked around."""

from redis._parsers import _AsyncHiredisParser
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError

from dinrank.service.store.replies import UNREADABLE


class Parser(_AsyncHiredisParser):
    """Turns every error reply into an exception object.

    redis-py's parser raises on an error that it does not understand, such as `-MOVED` without an address. It is called
    from C, by hiredis, where such an exception may crash the whole process (hiredis 3.5, in a RESP3 map).
    """

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        try:
            error: Exception = super().parse_error(response)  # type: ignore[no-untyped-call]  # redis-py's
        except UNREADABLE:
            return ResponseError(response)
        return error


def use_parser(client: Redis | RedisCluster) -> None:
    """Install `Parser`. Call it before the client has any connection: redis-py has no argument for it."""
    if isinstance(client, Redis):
        client.connection_pool.connection_kwargs["parser_class"] = Parser
        return
    manager = client.nodes_manager
    nodes = manager.startup_nodes.values()
    for of_connections in (manager.connection_kwargs, *(node.connection_kwargs for node in nodes)):
        of_connections["parser_class"] = Parser
