"""``python -m mobile_export.bench.cli`` is ``mobile-bench``."""

from __future__ import annotations

from .main import main

if __name__ == "__main__":
    main()
