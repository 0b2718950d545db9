"""Arguments in messages become the options of a program that has them."""

from __future__ import annotations

from mobile_export.errors import ArtifactError
from mobile_export.system.messages import said_of_options, typed_error

FLAGS = {"force": "--force", "out_dir": "-o", "weights": "--weights"}


def test_only_what_the_program_has_is_an_option() -> None:
    said = "Give `weights='FILE'`, `force=True`, `out_dir` or `size`."
    assert said_of_options(said, FLAGS) == "Give --weights FILE, --force, -o or `size`."
    assert said_of_options({"a": [said[:21], 1, None]}, FLAGS) == {
        "a": ["Give --weights FILE", 1, None]
    }


def test_an_error_is_said_in_options() -> None:
    error = ArtifactError("x exists already.", hint="Overwrite it with `force=True`.")
    said = typed_error(error, FLAGS)
    assert str(said) == "x exists already.\nOverwrite it with --force."
    assert said.exit_code == 2
