"""One page, two data sources: a report that is one file, and a live page that grows while a run trains."""

from headwatch.page.report import report
from headwatch.page.serve import serve

__all__ = ["report", "serve"]
