"""Reports: one self-contained HTML page with its figures inside."""

from genomix.report.page import Card, Fact, Figure, Page, Section, Table, write_page

__all__ = ["Card", "Fact", "Figure", "Page", "Section", "Table", "write_page"]
