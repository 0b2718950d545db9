"""Exporters: one module per target, each with ``check`` and ``export`` (see `targets.Exporter`)."""
