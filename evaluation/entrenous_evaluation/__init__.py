"""Collector of reports, statistics, learning from aggregates, dashboard. It opens with *Loop*."""
