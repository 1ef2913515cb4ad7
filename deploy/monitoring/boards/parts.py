"""What panels of several dashboards share."""

from __future__ import annotations

from deploy.monitoring.panels import Panel, Query, Unit


def stat(
    title: str, expr: str, *, unit: Unit = "short", says: str = "", alarming: float | None = None
) -> Panel:
    return Panel(title, (Query(expr),), unit, says, "stat", width=3, alarming=alarming)


def rate(metric: str, *, by: str, of: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{of}[$__rate_interval]))"


def increase(metric: str, *, by: str, of: str = "") -> str:
    """For what happens so seldom that a rate says nothing."""
    return f"sum by ({by}) (increase({metric}{of}[$__rate_interval]))"


def quantiles(
    histogram: str, *, of: str = "", by: str = "", at: tuple[float, ...] = (0.5, 0.99)
) -> tuple[Query, ...]:
    """Of a histogram's seconds; by: a label to tell apart."""
    labels = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(
            f"histogram_quantile({each}, sum by ({labels}) (rate({histogram}_bucket{of}[$__rate_interval])))",
            f"{each:.0%}{name}",
        )
        for each in at
    )
