"""How each ATen operator outside the core set is written in it: one small function each.

`decompose` runs once, before the passes (only `normalize_ops` has run), and the proof in float64
covers it. A function has the operator's schema above it, takes the session and the call, and
returns what stands in its place, or None where the call is left as it is. What all formats take
stays whole.
"""

from .decompose import decompose, needs_decomposing
from .pytorch import expand

__all__ = ["decompose", "expand", "needs_decomposing"]
