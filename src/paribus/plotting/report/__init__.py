"""A report: one HTML file with verdicts, tables, figures, failures, provenance and the data itself."""

from paribus.plotting.report.contents import Part, Report
from paribus.plotting.report.document import render
from paribus.plotting.report.provenance import Provenance

__all__ = ["Part", "Provenance", "Report", "render"]
