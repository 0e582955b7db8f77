"""Check of the port: free, or the program that has it."""

import errno
import http.client
import json
import ssl
from typing import Any

from dinrank.service.doctor.report import Finding, ok, warning, wrong
from dinrank.service.process.server import CannotListen, listening_socket
from dinrank.service.settings import Settings

CHECK = "port"
_TIMEOUT_S = 3.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def check_port(settings: Settings) -> list[Finding]:
    """Bind the addresses as the service would; if one is in use, identify the program that answers."""
    findings = _look(settings, "DINRANK_PORT")
    if settings.probe_port:
        findings += _look(settings.model_copy(update={"port": settings.probe_port}), "DINRANK_PROBE_PORT")
    return findings


def _look(settings: Settings, variable: str) -> list[Finding]:
    host, port = settings.host, settings.port
    if port == 0:
        return [ok(CHECK, "0: the service takes a free port when it starts, and says which")]
    try:
        with listening_socket(host, port):
            return [ok(CHECK, f"{host} port {port} is free")]
    except CannotListen as exc:
        reason = exc.__cause__
        if isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE:
            return [_occupant(settings, variable)]
        if isinstance(reason, OSError) and reason.errno == errno.EACCES:
            return [wrong(CHECK, str(exc), f"take a port from 1024 on with {variable}")]
        return [wrong(CHECK, str(exc), "set DINRANK_HOST to an address of this machine, 127.0.0.1 or 0.0.0.0")]


def _occupant(settings: Settings, variable: str) -> Finding:
    address = f"{settings.host} port {settings.port}"
    if _ask(settings, "/livez") != {"status": "alive"}:
        return wrong(
            CHECK,
            f"{address} is taken by another program",
            f"end it (`ss -ltnp 'sport = :{settings.port}'` names it), or set {variable} to another port",
        )
    readiness = _ask(settings, "/readyz")
    status = readiness.get("status") if isinstance(readiness, dict) else "nothing"
    if status != "ready":
        message = f"dinrank answers on {address} already, and says of itself: {status}"
        return warning(CHECK, message, "look at its /readyz and at its log")
    model = readiness["model"]
    name = f"{model['name']} {model['version']}"
    return ok(CHECK, f"dinrank answers on {address} already, with {name}; a second one needs another port")


def _ask(settings: Settings, path: str) -> Any:
    """Return the JSON that a GET returns; None for any other answer or failure."""
    host = _EVERY_ADDRESS.get(settings.host, settings.host)
    connection: http.client.HTTPConnection
    if settings.tls_certificate is None:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    else:
        # Not verified: certificates are seldom for 127.0.0.1, and the program on this machine is all that matters.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, settings.port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read(65_536))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
