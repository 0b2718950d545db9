"""The table of built-in models.

It holds plain data and imports no torch, so that listing, completing and misspelling a name stay
cheap: a family's networks are imported when one of its models is built. To add a family, write a
folder ``models/FAMILY/`` and name it in `FAMILIES` (docs/adding-a-model.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import SourceError
from . import (
    aanet,
    agg_net,
    all_cnn,
    amt,
    bts,
    carn_m,
    cas_vit,
    cat,
    ccnn,
    coc,
    codenet,
    convmlp,
    crate,
    cswin,
    dat,
    dcgan,
    dcn,
    deepmad,
    edgevit,
    emo,
    espcn,
    flexnet,
    freenet,
    gather_excite,
    glnet,
    hiformer,
    hornet,
    internimage,
    kan,
    lightvit,
    linknet,
    lite_mono,
    lvt,
    maxim,
    medvit,
    mit,
    moat,
    mobile_former,
    mobilenetv3,
    monodepth,
    mpvit,
    ninformer,
    paratranscnn,
    parcnetv2,
    patchconvnet,
    plain_vit,
    pp_mobileseg,
    pvt,
    recnext,
    rednet,
    restormer,
    scnet,
    seaformer,
    seaformerpp,
    smpconv,
    sn_net,
    spanet,
    sparsenet,
    spd_conv,
    squeezetime,
    sret,
    ssm_2d,
    stn,
    svt,
    swin,
    t2t_vit,
    teed,
    topformer,
    transnext,
    tvconv,
    u2net,
    unet,
    uniformer,
    unireplknet,
    vit_resnas,
    wavemix,
    xnor_net,
)
from .entry import ModelEntry, Published

__all__ = ["FAMILIES", "ModelEntry", "Published", "by_name", "entries", "get", "names"]

FAMILIES = (
    emo.ROWS,
    freenet.ROWS,
    mobile_former.ROWS,
    seaformer.ROWS,
    seaformerpp.ROWS,
    topformer.ROWS,
    pvt.ROWS,
    mit.ROWS,
    cas_vit.ROWS,
    recnext.ROWS,
    tvconv.ROWS,
    lite_mono.ROWS,
    espcn.ROWS,
    carn_m.ROWS,
    squeezetime.ROWS,
    linknet.ROWS,
    u2net.ROWS,
    mobilenetv3.ROWS,
    edgevit.ROWS,
    mpvit.ROWS,
    lightvit.ROWS,
    convmlp.ROWS,
    uniformer.ROWS,
    hornet.ROWS,
    rednet.ROWS,
    t2t_vit.ROWS,
    lvt.ROWS,
    patchconvnet.ROWS,
    crate.ROWS,
    all_cnn.ROWS,
    unet.ROWS,
    unireplknet.ROWS,
    sret.ROWS,
    cswin.ROWS,
    parcnetv2.ROWS,
    dat.ROWS,
    medvit.ROWS,
    restormer.ROWS,
    cat.ROWS,
    moat.ROWS,
    wavemix.ROWS,
    hiformer.ROWS,
    coc.ROWS,
    vit_resnas.ROWS,
    transnext.ROWS,
    bts.ROWS,
    spanet.ROWS,
    ninformer.ROWS,
    smpconv.ROWS,
    agg_net.ROWS,
    dcgan.ROWS,
    dcn.ROWS,
    deepmad.ROWS,
    gather_excite.ROWS,
    glnet.ROWS,
    internimage.ROWS,
    monodepth.ROWS,
    paratranscnn.ROWS,
    pp_mobileseg.ROWS,
    scnet.ROWS,
    spd_conv.ROWS,
    stn.ROWS,
    teed.ROWS,
    ccnn.ROWS,
    kan.ROWS,
    swin.ROWS,
    xnor_net.ROWS,
    svt.ROWS,
    sn_net.ROWS,
    amt.ROWS,
    aanet.ROWS,
    codenet.ROWS,
    maxim.ROWS,
    ssm_2d.ROWS,
    flexnet.ROWS,
    plain_vit.ROWS,
    sparsenet.ROWS,
)
"""The rows of every family: one line a family."""


def by_name(families: Iterable[Iterable[ModelEntry]]) -> dict[str, ModelEntry]:
    """The rows of all families by the name of the model, sorted.

    Raises:
        ValueError: two rows have one name.
    """
    rows = [row for family in families for row in family]
    found = {row.name: row for row in sorted(rows, key=lambda row: row.name)}
    if len(found) < len(rows):
        twice = {row.name for row in rows if row is not found[row.name]}
        raise ValueError(f"more than one model is called {', '.join(sorted(twice))}")
    return found


_ENTRIES = by_name(FAMILIES)


def names() -> tuple[str, ...]:
    """Names of all built-in models, sorted."""
    return tuple(_ENTRIES)


def entries() -> tuple[ModelEntry, ...]:
    """All rows, sorted by name."""
    return tuple(_ENTRIES.values())


def get(name: str) -> ModelEntry:
    """The row of one model.

    Raises:
        SourceError: there is no such name.
    """
    try:
        return _ENTRIES[name]
    except KeyError:
        raise SourceError(
            f"No built-in model is called {name!r}.",
            hint=f"Built-in models: {', '.join(names())}.",
        ) from None
