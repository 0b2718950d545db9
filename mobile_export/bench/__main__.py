"""``python -m mobile_export.bench`` is ``mobile-bench``."""

from __future__ import annotations

from ..system.paths import forget_current_folder

forget_current_folder()

from .cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
