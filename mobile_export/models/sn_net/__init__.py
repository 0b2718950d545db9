"""SN-Netv2 (ECCV 2024; arXiv 2307.00154): one network made of the blocks of two."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="sn_netv2_s_b",
        family="SN-Netv2",
        builder="sn_net.network:sn_netv2_s_b",
        published=Published(
            source="SN-Netv2 (arXiv 2307.00154), official code of classification",
            params_m=None,
            macs_m=None,
            code="https://github.com/ziplab/SN-Netv2",
        ),
        size_step=16,
        sized=True,
        options=(("route", ("s6b6", "s9b3", "s3b9", "b6s6", "s4b4s4", "b4s4b4")),),
        weight_options=("route",),
    ),
)
