"""Checks of the settings against each other and the machine."""

import resource
import stat

from dinrank.service.access.admin_token import token_path
from dinrank.service.access.keys import BadKeyFile, read_digests, writable_by_others
from dinrank.service.access.own_names import is_loopback
from dinrank.service.commands.exposure import BadCertificate, Exposed, check_exposure
from dinrank.service.cores import usable_cores
from dinrank.service.doctor.report import Finding, ok, warning, wrong
from dinrank.service.process.open_files import may_open, needed_files
from dinrank.service.settings import Settings


def check_access(settings: Settings) -> list[Finding]:
    """Check keys and TLS against the address."""
    try:
        check_exposure(settings)
    except (Exposed, BadKeyFile, BadCertificate) as exc:
        return [wrong("access", str(exc))]
    findings = []
    has_keys = settings.api_keys_file is not None
    if is_loopback(settings.host):
        who = "callers with a key" if has_keys else "everybody on this machine"
        findings.append(ok("access", f"{settings.host} is reached from this machine alone; it serves {who}"))
        findings += _pages_let_in(settings)
    elif has_keys:
        findings.append(ok("access", f"{settings.host} can be reached from outside; callers need a key"))
    else:
        findings.append(
            warning(
                "access",
                f"{settings.host} can be reached from outside, and DINRANK_ANONYMOUS=allowed lets everybody in",
                "set DINRANK_API_KEYS_FILE, unless a proxy or a firewall keeps strangers out",
            )
        )
    if not is_loopback(settings.host) and settings.tls_certificate is None:
        findings.append(
            warning(
                "access",
                "callers from outside speak plain HTTP, keys included",
                "set DINRANK_TLS_CERTIFICATE and DINRANK_TLS_KEY, or end TLS in a proxy on this machine",
            )
        )
    return [*findings, *_secrets_that_others_read(settings), *_secrets_that_others_write(settings)]


def _pages_let_in(settings: Settings) -> list[Finding]:
    if settings.api_keys_file is not None or settings.anonymous != "allowed" or settings.allowed_hosts:
        return []
    return [
        warning(
            "access",
            "with DINRANK_ANONYMOUS=allowed any page in a browser on this machine may be among the callers",
            "set DINRANK_ALLOWED_HOSTS to the names under which the service is asked",
        )
    ]


def check_admin(settings: Settings) -> list[Finding]:
    """Check the credential of admin routes. A running service's token is read as its operators would."""
    if settings.admin_keys_file is not None:
        return [ok("admin", f"admin routes take a key of {settings.admin_keys_file}")]
    path = token_path(settings.admin_token_dir, settings.host, settings.port)
    try:
        read_digests(path)
    except BadKeyFile as exc:
        if path.exists():
            return [wrong("admin", str(exc), "ask as the account that the service runs as, or start the service again")]
        return [ok("admin", f"admin routes take a token that the service has in {path} while it runs")]
    return [ok("admin", f"admin routes take the token in {path}")]


def _secrets_that_others_read(settings: Settings) -> list[Finding]:
    return [
        warning("access", f"every user of this machine can read {path}", f"chmod 600 {path}")
        for path in settings.secret_files()
        if path.stat().st_mode & stat.S_IROTH
    ]


def _secrets_that_others_write(settings: Settings) -> list[Finding]:
    return [
        warning("access", f"other accounts can write to {place} and so replace {path}", f"chmod go-w {place}")
        for path in settings.secret_files()
        for place in writable_by_others(path)
    ]


def check_workers(settings: Settings) -> list[Finding]:
    """Check the number of scoring threads against the usable cores."""
    cores, threads = usable_cores(), settings.workers * settings.scoring_threads
    message = f"{settings.workers} workers with {settings.scoring_threads} scoring threads each, {cores} usable cores"
    if threads > cores:
        return [
            warning(
                "workers",
                f"{message}: they compete for CPU, and tail latency rises",
                f"set DINRANK_WORKERS={max(1, cores // settings.scoring_threads)}, or give the container more CPU",
            )
        ]
    return [ok("workers", message)]


def check_file_limit(settings: Settings) -> list[Finding]:
    """Check the file limit. Each connection is an open file; each worker raises its own limit as far as allowed."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = needed_files(settings)
    if limit == resource.RLIM_INFINITY:
        return [ok("files", "a worker may open any number of files")]
    message = f"a worker may open {limit:,} files, and needs up to {needed:,} with all its connections"
    if not may_open(limit, needed):
        remedy = f"raise it with `ulimit -Hn {needed}` or LimitNOFILE, or set DINRANK_MAX_CONNECTIONS lower"
        return [wrong("files", f"{message}: further callers would have to wait", remedy)]
    return [ok("files", message)]
