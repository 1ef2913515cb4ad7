"""Dashboards as code; the alerts beside them are written by hand."""
