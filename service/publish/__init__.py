"""Fill Redis from a dataset directory: behaviours, profiles and the ads that the bundle does not know."""

from service.publish.errors import DatasetUnreadable
from service.publish.publisher import PublishReport, publish

__all__ = ["DatasetUnreadable", "PublishReport", "publish"]
