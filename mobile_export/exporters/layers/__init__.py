"""The one lowering that the ncnn and the TNN writer share.

    prepared Program ──lower──▶ LayerGraph ──writer──▶ file

`ir` says what a layer graph is, `reference` executes it in float64.
"""
