"""Settings of the service: read once from the environment; flags override it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dinrank.service.access.admin_token import default_token_dir
from dinrank.service.access.own_names import parse_host_names, spell_host_names
from dinrank.service.cores import usable_cores
from dinrank.service.store.embedded import default_data_dir
from dinrank.service.store.layout import MAX_STORED_BEHAVIOURS
from dinrank.service.store.url import EMBEDDED
from dinrank.service.telemetry.logs import LogFormat

ENV_PREFIX = "DINRANK_"
CopyMode = Literal["copy", "link"]


@dataclass(frozen=True, slots=True)
class Challenger:
    """A bundle that ranks beside the champion.

    Attributes:
        bundle: its directory, or a link to it.
        share: of the users, above 0 and at most 1; None for a shadow, whose rankings are only compared.
    """

    bundle: Path
    share: float | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse PATH:SHARE or PATH:shadow. Raises: ValueError, which names the accepted forms."""
        path, colon, share = text.strip().rpartition(":")
        if not (path and colon):
            raise ValueError(
                f"{text!r} is not a challenger: write PATH:SHARE, bundles/new:0.1 for instance, or PATH:shadow"
            )
        if share == _SHADOW:
            return cls(Path(path), None)
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        if not 0.0 < number <= 1.0:
            raise ValueError(f"{share!r} in {text!r} is no share: write a number above 0, at most 1, or `shadow`")
        return cls(Path(path), number)

    def __str__(self) -> str:
        return f"{self.bundle}:{_SHADOW if self.share is None else self.share}"


class Settings(BaseSettings):
    """The service's settings; each is read from `DINRANK_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    bundle: Path = Field(description="Directory of the bundle to serve.")
    bundle_keys: Path | None = Field(
        default=None,
        description="PEM file with Ed25519 public keys, or a directory of `*.pem`: every command opens only bundles "
        "signed by one of them. Without it all bundles are trusted.",
    )
    redis: str = Field(
        default=EMBEDDED,
        min_length=1,
        repr=False,  # the URL may hold a password
        description="URL of Redis, `redis://host:6379` for instance, or `embedded` for a server that the service runs.",
    )
    redis_data_dir: Path = Field(
        default_factory=default_data_dir, description="Where the embedded redis-server keeps its data between runs."
    )
    redis_timeout_ms: int = Field(
        default=50, gt=0, description="Longest wait for Redis, in milliseconds; after it the answer is degraded."
    )
    redis_max_connections: int = Field(default=64, gt=0, description="Connections to Redis that one worker may open.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    probe_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Separate TCP port for `/livez`, `/readyz` and `/metrics`, with its own connections; 0 opens none.",
    )
    workers: int = Field(
        default_factory=usable_cores,
        gt=0,
        description="Number of worker processes; by default one per core that the container may use.",
    )
    scoring_threads: int = Field(
        default=1, gt=0, description="Requests that one worker scores at the same time, each on one thread."
    )
    scoring_timeout_ms: int = Field(
        default=10_000,
        gt=0,
        description="Longest run of a graph, in milliseconds; after it the run is ended and the answer is 500.",
    )
    stuck_after_ms: int = Field(
        default=30_000,
        ge=1_000,
        description="How long a worker may be stuck, in milliseconds: a blocked event loop, or a run that cannot be "
        "ended. After it the worker exits, and is replaced if there are several.",
    )
    max_candidates: int = Field(default=2000, gt=0, description="Candidates that one request may carry.")
    max_explained_pairs: int = Field(
        default=100_000,
        gt=0,
        description="Activation weights that one answer with `explain` may carry: ads of the answer x behaviours.",
    )
    max_body_bytes: int = Field(default=2_097_152, gt=0, description="Largest request body, in bytes.")
    challengers: Annotated[tuple[Challenger, ...], NoDecode] = Field(
        default=(),
        description="Bundles served beside `bundle`, comma-separated: `PATH:SHARE` ranks for that share of the users, "
        "`PATH:shadow` is only compared.",
    )
    split_salt: str = Field(
        default="", description="A different salt assigns the users to challengers anew, independently of before."
    )
    playground: bool = Field(
        default=True, description="Serve the playground at `/`, a page to try users, ads and bids."
    )
    run_dir: Path | None = Field(
        default=None,
        description="Parent of the directory for private copies of bundles and the workers' metrics; by default the "
        "system's temporary folder. It needs space for one bundle, and for two during a reload.",
    )
    bundle_copy: CopyMode = Field(
        default="copy",
        description="How a bundle is copied: `copy` shares blocks if the file system can, else copies bytes; `link` "
        "makes hard links if possible, for bundles whose files are never overwritten in place.",
    )
    bundle_timeout_ms: int = Field(
        default=60_000,
        gt=0,
        description="Longest time for a new bundle's graphs to load and to answer its golden requests, in "
        "milliseconds; after it the bundle is refused.",
    )
    bundle_poll_ms: int = Field(
        default=1000,
        ge=0,
        description="Poll interval for a new bundle, in milliseconds; 0 checks only on request.",
    )
    drain_ms: int = Field(
        default=0, ge=0, description="After SIGTERM, how long to keep answering with `/readyz` at 503, in milliseconds."
    )
    redis_failure: Literal["degrade", "refuse"] = Field(
        default="degrade",
        description="If Redis fails: `degrade` ranks without stored features and says so; `refuse` answers 503.",
    )
    breaker_failures: int = Field(
        default=5,
        gt=0,
        description="Consecutive failures that open a worker's circuit breaker for Redis, or for a cluster node.",
    )
    breaker_open_ms: int = Field(
        default=1_000, gt=0, description="How long the breaker stays open, in milliseconds; then one request probes."
    )
    max_waiting: int = Field(
        default=64, ge=0, description="Ranking requests that may wait in one worker; further ones are refused at once."
    )
    max_wait_ms: int = Field(
        default=200,
        gt=0,
        description="Longest wait of a request, in the queue and for a scoring thread together, in milliseconds; one "
        "that would wait longer is refused.",
    )
    max_stored_behaviours: int = Field(
        default=MAX_STORED_BEHAVIOURS,
        gt=0,
        description="Behaviours that Redis keeps of one user, published and live ones together; never fewer than the "
        "model takes.",
    )
    log_format: LogFormat = Field(
        default="text", description="Format of log lines: `text` for people, `json` for log collectors."
    )
    trace_endpoint: str = Field(
        default="",
        description="OTLP/HTTP URL to send OpenTelemetry traces to, `http://127.0.0.1:4318/v1/traces` for instance.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File with the keys that callers must send, one per line; without it no key is needed. "
        "Changes take effect without a restart.",
    )
    admin_keys_file: Path | None = Field(
        default=None,
        description="The same for `/admin` and for removing users. Without it these take a token that the service "
        "writes at its start.",
    )
    admin_token_dir: Path = Field(
        default_factory=default_token_dir,
        description="Directory of that token's file, `admin-token-HOST-PORT`, readable only by this account.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names of the service beside the loopback ones, comma-separated: allowed values of `Host` and "
        "`Origin`. Without it these are checked only by a service without keys on loopback.",
    )
    anonymous: Literal["loopback", "allowed"] = Field(
        default="loopback",
        description="Callers without a key, if no file of keys is set: `loopback` refuses to start on any other "
        "address, `allowed` lets everybody in.",
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain for HTTPS; without it the service speaks HTTP."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
    header_timeout_ms: int = Field(
        default=10_000,
        gt=0,
        description="Longest wait for the whole head of a request, in milliseconds; after it the answer is 408.",
    )
    body_timeout_ms: int = Field(
        default=30_000,
        gt=0,
        description="The same for the whole body, and for the caller to read the whole answer.",
    )
    max_header_bytes: int = Field(default=16_384, gt=0, description="Largest head of a request, in bytes.")
    max_connections: int = Field(
        default=1_000,
        gt=0,
        description="Connections from callers that one worker keeps; a further one evicts the longest idle.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log lines that are written."
    )

    @field_validator("challengers", mode="before")
    @classmethod
    def _are_challengers(cls, value: object) -> object:
        return parse_challengers(value) if isinstance(value, str) else value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _are_host_names(cls, value: object) -> object:
        return parse_host_names(value) if isinstance(value, str) else value

    @field_validator("trace_endpoint")
    @classmethod
    def _is_url_or_empty(cls, endpoint: str) -> str:
        if endpoint and not re.fullmatch(r"https?://[^\s/]+\S*", endpoint):
            raise ValueError(f"{endpoint!r} is not an http:// or https:// URL: give the collector's, or leave it empty")
        return endpoint

    @classmethod
    def read(cls, **flags: Any) -> Self:
        """Read settings from the environment, overridden by those flags that are not None.

        Raises:
            pydantic.ValidationError: a value is out of range, or `bundle` is not set.
        """
        return cls(**{name: value for name, value in flags.items() if value is not None})

    def files_of_keys(self) -> tuple[Path, ...]:
        """Return the key files that are set."""
        return tuple(path for path in (self.api_keys_file, self.admin_keys_file) if path is not None)

    def secret_files(self) -> tuple[Path, ...]:
        """Return the secret files that are set, which only this account should read or write."""
        return self.files_of_keys() if self.tls_key is None else (*self.files_of_keys(), self.tls_key)

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that give another process equal settings."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        given["challengers"] = spell_challengers(self.challengers)
        given["allowed_hosts"] = spell_host_names(self.allowed_hosts)
        return {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in given.items()}


_SHADOW = "shadow"


def parse_challengers(text: str) -> tuple[Challenger, ...]:
    """Parse comma-separated challengers. Raises: ValueError, if one is invalid or the shares add up to more than 1."""
    challengers = tuple(map(Challenger.parse, filter(str.strip, text.split(","))))
    whole = sum(challenger.share or 0.0 for challenger in challengers)
    if whole > 1.0:
        raise ValueError(f"the challengers' shares add up to {whole:g}; at most 1 leaves the champion the rest")
    return challengers


def spell_challengers(challengers: Sequence[Challenger]) -> str:
    """Return the text for `parse_challengers`: its inverse."""
    return ",".join(map(str, challengers))
