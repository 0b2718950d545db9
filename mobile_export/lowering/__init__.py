"""The one lowering that the ncnn and the TNN writer share.

    prepared Program ──lower──▶ LayerGraph ──writer──▶ file

`ir` says what a layer graph is, `lower` makes one, `simplify` has what a writer may ask for beyond
it, and `reference` executes it in float64.
"""
