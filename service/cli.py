"""Command line: parse flags and environment, run the command, print the result."""

import importlib.metadata
import json
import logging
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from dinrank.model.bundle.errors import BundleError
from dinrank.service.access.admin_token import BadTokenFile, admin_token, token_path
from dinrank.service.access.keys import BadKeyFile, wait_until_settled, warn_of_writers
from dinrank.service.commands.announcement import announce
from dinrank.service.commands.exposure import BadCertificate, Exposed, check_exposure
from dinrank.service.commands.remedies import remedy_for
from dinrank.service.errors import ServiceError
from dinrank.service.lineup.loading import own_loader
from dinrank.service.lineup.run_directory import NoRunDirectory
from dinrank.service.process.server import CannotListen, exit_on_signals, http_address, listening_sockets, run_server
from dinrank.service.process.supervisor import NoWorkerLeft
from dinrank.service.settings import ENV_PREFIX, Settings
from dinrank.service.store.embedded import redis_url
from dinrank.service.store.errors import StoreSetupError
from dinrank.service.store.url import EMBEDDED, parse_redis_url
from dinrank.service.telemetry.logs import LogFormat, configure_logging, log_event
from dinrank.service.telemetry.tracing import TracingUnavailable, require_tracing

app = typer.Typer(
    help="Rank ads by eCPM with a trained bundle. Flags override the environment, where every setting can be given "
    f"as {ENV_PREFIX} and its name in capitals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# Errors that an operator can fix, printed in one line.
_MENDABLE = (
    BundleError,
    StoreSetupError,
    CannotListen,
    Exposed,
    BadKeyFile,
    BadTokenFile,
    BadCertificate,
    NoRunDirectory,
    NoWorkerLeft,
    ServiceError,
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"dinrank {importlib.metadata.version('dinrank')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Parse the options before a command."""


BundleOption = Annotated[
    Path | None, typer.Option(help=f"Directory of the bundle; required, here or as {ENV_PREFIX}BUNDLE.")
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        help="URL of Redis, or `embedded` (the default) for a server that runs as long as this command and keeps its "
        f"data in {ENV_PREFIX}REDIS_DATA_DIR."
    ),
]


@app.command(epilog="Example: python -m service serve --bundle bundles/din --redis redis://127.0.0.1:6379 --workers 2")
def serve(
    bundle: BundleOption = None,
    redis: RedisOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, by default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port, by default 8000; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes, by default one per usable core.")] = None,
    challengers: Annotated[
        str | None, typer.Option(help="Bundles served beside it, PATH:SHARE or PATH:shadow, comma-separated.")
    ] = None,
) -> None:
    """Verify a bundle and answer POST /rank with it, until SIGTERM or Ctrl-C."""
    with _failures_in_one_line(), exit_on_signals():
        settings = Settings.read(
            bundle=bundle, redis=redis, host=host, port=port, workers=workers, challengers=challengers
        )
        configure_logging(settings.log_level, settings.log_format)
        with _failures_in_one_line(TracingUnavailable, log_format=settings.log_format):
            _serve(settings)


def _serve(settings: Settings) -> None:
    _check_access(settings)
    if settings.trace_endpoint:
        require_tracing()
    is_tls = settings.tls_certificate is not None
    with own_loader(settings) as loader:
        # Checked here too, so that a bad bundle ends the command rather than one worker after the other.
        checked, *_ = [
            loader.check(path) for path in (settings.bundle, *(each.bundle for each in settings.challengers))
        ]
        with listening_sockets(settings) as sockets, redis_url(settings.redis, settings.redis_data_dir) as url:
            parse_redis_url(url)
            with _admin_token(settings, sockets[0]):
                announce(settings, http_address(sockets[0], is_tls=is_tls), checked, url)
                for probes in sockets[1:]:
                    log_event(logging.INFO, "probes", address=http_address(probes, is_tls=is_tls))
                run_server(settings.model_copy(update={"redis": url}), sockets, loader.directory)


def _check_access(settings: Settings) -> None:
    """Raises: Exposed, BadKeyFile, BadCertificate."""
    for path in settings.files_of_keys():
        wait_until_settled(path)  # it may have been written just before the start
    check_exposure(settings)
    for path in settings.secret_files():
        warn_of_writers(path)


@contextmanager
def _admin_token(settings: Settings, bound: socket.socket) -> Iterator[None]:
    """Provide a token for admin routes during the block if no file of admin keys is set. Raises: BadTokenFile."""
    if settings.admin_keys_file is not None:
        yield
        return
    with admin_token(token_path(settings.admin_token_dir, settings.host, bound.getsockname()[1])):
        yield


@app.command(epilog="Example: python -m service publish --bundle bundles/din --data data/ml-100k --redis embedded")
def publish(
    data: Annotated[Path, typer.Option(help="Dataset directory to read.")],
    bundle: BundleOption = None,
    redis: RedisOption = None,
) -> None:
    """Write a dataset's behaviours, profiles and new ads to Redis, in the form that the bundle's model needs.

    With `--redis embedded` the data stay in the directory that `serve --redis embedded` reads later.
    """
    with _installed_by("publish"):  # imported here, as `serve` does not need polars
        from dinrank.service.publish import DatasetUnreadable
        from dinrank.service.publish import publish as publish_dataset

    with _failures_in_one_line(DatasetUnreadable), exit_on_signals():
        settings = Settings.read(bundle=bundle, redis=redis)
        with own_loader(settings) as loader, redis_url(settings.redis, settings.redis_data_dir) as url:
            verified = loader.open(settings.bundle)
            report = publish_dataset(
                verified, data, url, console=Console(stderr=True), max_stored=settings.max_stored_behaviours
            )
            typer.echo(
                f"wrote {report.num_users:,} users with {report.num_behaviours:,} behaviours and {report.num_ads:,} "
                f"ads that the bundle lacks, in {report.duration_s:.1f} s, {_destination(settings)}"
            )
        if report.num_others:
            typer.echo(
                f"It holds and keeps behaviours of at least {report.num_others:,} users who are not of this dataset; "
                "DELETE /users/ID removes one. Is that another data set of yours? Give each a Redis of its own: "
                f"--redis, or {ENV_PREFIX}REDIS_DATA_DIR for the embedded one."
            )
        with_what = "" if settings.redis == EMBEDDED else ", with the same Redis"  # whose URL may hold a password
        serve_it = ["python", "-m", "service", "serve", "--bundle", str(settings.bundle)]
        typer.echo(f"Next{with_what}: {shlex.join(serve_it)}")


@app.command(epilog="Example: python -m service consume --bundle bundles/din --redis redis://127.0.0.1:6379")
def consume(
    bundle: BundleOption = None,
    redis: RedisOption = None,
    stream: Annotated[str, typer.Option(help="Key of the stream.")] = "dinrank:behaviours",
    group: Annotated[str, typer.Option(help="Consumer group; created if missing.")] = "dinrank",
    consumer: Annotated[
        str | None, typer.Option(help="This consumer's name in the group, by default host name and process id.")
    ] = None,
) -> None:
    """Write behaviours from a Redis Stream to users' histories, until SIGTERM or Ctrl-C.

    An entry has one field, `event`, with an event as JSON, as in POST /behaviours. Several consumers may share a group.
    """
    # Imported here, as `serve` does not need it.
    from dinrank.service.consume import consume as consume_stream

    with _failures_in_one_line(), exit_on_signals():
        settings = Settings.read(bundle=bundle, redis=redis)
        configure_logging(settings.log_level, settings.log_format)
        with (
            _failures_in_one_line(log_format=settings.log_format),
            redis_url(settings.redis, settings.redis_data_dir) as url,
        ):
            consume_stream(settings, url, stream=stream, group=group, consumer=consumer)


@app.command(epilog="Example: python -m service demo --bundle bundles/din-ml-100k --data data/ml-100k")
def demo(
    data: Annotated[Path, typer.Option(help="Dataset directory that the bundle was trained on.")],
    bundle: BundleOption = None,
) -> None:
    """Publish a dataset to a temporary Redis, serve the bundle, rank for one real user, and stop everything."""
    with _installed_by("demo"):  # imported here, as `serve` does not need it
        from dinrank.service.commands.demo import DemoFailed, run_demo
        from dinrank.service.publish import DatasetUnreadable

    with _failures_in_one_line(DatasetUnreadable, DemoFailed), exit_on_signals():
        settings = Settings.read(bundle=bundle)
        with own_loader(settings) as loader:
            run_demo(loader.open(settings.bundle), data, Console())


@app.command(epilog="Example: python -m service doctor --bundle bundles/din --redis redis://127.0.0.1:6379")
def doctor(
    bundle: BundleOption = None,
    redis: RedisOption = None,
    host: Annotated[str | None, typer.Option(help="Address for the service to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port of the service.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes of the service.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")] = False,
) -> None:
    """Check a deployment, with the settings that `serve` would use, and report problems with remedies.

    Checks the bundle, Redis and its data, keys and TLS, port, cores, open files, libraries and clocks. Read-only. The
    exit code is 1 if something is wrong; warnings leave it 0.
    """
    # Imported here, as `serve` does not need it.
    from dinrank.service.doctor.examination import examine
    from dinrank.service.doctor.report import as_document, as_text, is_any_wrong, summary

    with _failures_in_one_line(), exit_on_signals():
        settings = Settings.read(bundle=bundle, redis=redis, host=host, port=port, workers=workers)
        findings = []
        for finding in examine(settings):
            findings.append(finding)
            if not as_json:
                typer.echo(as_text(finding))
        typer.echo(json.dumps(as_document(findings), indent=2) if as_json else summary(findings))
    if is_any_wrong(findings):
        raise typer.Exit(1)


def _destination(settings: Settings) -> str:
    if settings.redis == EMBEDDED:
        return f"to the embedded Redis in {settings.redis_data_dir}"
    return f"to {parse_redis_url(settings.redis).place()}"


@contextmanager
def _installed_by(extra: str) -> Iterator[None]:
    """Wrap imports of optional dependencies."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name not in ("httpx", "polars"):
            raise
        _fail(f"this command needs {exc.name}: pip install 'dinrank[{extra}]'", exc, "text")


@contextmanager
def _failures_in_one_line(*further: type[Exception], log_format: LogFormat = "text") -> Iterator[None]:
    """Turn errors that an operator can fix into a one-line message and exit code 1; bugs keep their traceback."""
    try:
        yield
    except ValidationError as exc:
        _fail(_complaint(exc), exc, log_format)
    except _MENDABLE as exc:
        advice = remedy_for(exc)
        _fail(f"{exc}: {advice}" if advice else str(exc), exc, log_format)
    except further as exc:
        _fail(str(exc), exc, log_format)


def _complaint(invalid: ValidationError) -> str:
    """Describe the first invalid setting, by both of its names."""
    error = invalid.errors()[0]
    name = ".".join(str(step) for step in error["loc"])
    variable = f"{ENV_PREFIX}{name.upper()}"
    if error["type"] == "missing":
        return f"give --{name.replace('_', '-')}, or set {variable}"
    return f"{variable} or its flag: {error['msg'].removeprefix('Value error, ')}"


def _fail(message: str, cause: Exception, log_format: LogFormat) -> None:
    if log_format == "json":
        log_event(logging.ERROR, "failed", error=message)
    else:
        typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1) from cause
