"""A run for people: report, tables, comparison, audit, export."""
