"""Examination of a deployment: all checks in order, each finding as it arrives."""

from collections.abc import Callable, Iterator, Sequence

from dinrank.model.bundle.reader import Bundle
from dinrank.service.doctor.bundles import check_bundle
from dinrank.service.doctor.configuration import check_access, check_admin, check_file_limit, check_workers
from dinrank.service.doctor.embedded_data import check_embedded_data
from dinrank.service.doctor.feature_store import check_feature_store
from dinrank.service.doctor.libraries import check_libraries
from dinrank.service.doctor.port import check_port
from dinrank.service.doctor.report import Finding
from dinrank.service.lineup.loading import BundleLoader, own_loader
from dinrank.service.settings import Settings
from dinrank.service.store.url import EMBEDDED


def examine(settings: Settings) -> Iterator[Finding]:
    """Check everything that these settings name. Read-only; sends no ranking request."""
    with own_loader(settings) as loader:
        yield from _examine(settings, loader)


def _examine(settings: Settings, loader: BundleLoader) -> Iterator[Finding]:
    champion: Bundle | None = None
    for number, path in enumerate((settings.bundle, *(challenger.bundle for challenger in settings.challengers))):
        findings, loaded = check_bundle(path, loader)
        yield from findings
        if number == 0 and loaded is not None:
            champion = loaded.bundle
    checks: Sequence[Callable[[], list[Finding]]] = (
        lambda: check_feature_store(settings, champion),
        lambda: check_embedded_data(settings.redis_data_dir) if settings.redis == EMBEDDED else [],
        lambda: check_access(settings),
        lambda: check_admin(settings),
        lambda: check_port(settings),
        lambda: check_workers(settings),
        lambda: check_file_limit(settings),
        lambda: check_libraries(settings),
    )
    for check in checks:
        yield from check()
