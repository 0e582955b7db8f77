"""Fill Redis from a dataset directory: behaviours, profiles and the ads that the bundle does not know."""

from dinrank.service.publish.errors import DatasetUnreadable
from dinrank.service.publish.publisher import PublishReport, publish

__all__ = ["DatasetUnreadable", "PublishReport", "publish"]
