"""All checks in order, each finding as it comes."""

from collections.abc import Callable, Iterator, Sequence

from model.bundle.reader import Bundle
from service.doctor.bundles import check_bundle
from service.doctor.configuration import check_access, check_file_limit, check_workers
from service.doctor.embedded_data import check_embedded_data
from service.doctor.feature_store import check_feature_store
from service.doctor.findings import Finding
from service.doctor.libraries import check_libraries
from service.doctor.port import check_port
from service.settings import EMBEDDED, Settings
from service.signatures import TrustedKeys


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything that these settings name. Nothing is changed, and no request is made of a service."""
    champion: Bundle | None = None
    for number, path in enumerate((settings.bundle, *(challenger.bundle for challenger in settings.challengers))):
        findings, loaded = check_bundle(path, TrustedKeys.of(settings.bundle_keys))
        yield from findings
        if number == 0 and loaded is not None:
            champion = loaded.bundle
    checks: Sequence[Callable[[], list[Finding]]] = (
        lambda: check_feature_store(settings, champion),
        lambda: check_embedded_data(settings.redis_data_dir) if settings.redis == EMBEDDED else [],
        lambda: check_access(settings),
        lambda: check_port(settings),
        lambda: check_workers(settings),
        lambda: check_file_limit(settings),
        lambda: check_libraries(settings),
    )
    for check in checks:
        yield from check()
