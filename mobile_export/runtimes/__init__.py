"""Runtimes: one module per target, each with ``load`` and ``describe`` (see `targets.Runtime`)."""
