"""`python -m serving`: the scoring service, as the lean image runs it."""

import os
import sys

# Read when numpy is imported. The products of a batch are small: more threads only wait for each
# other, and where another process has the second core a batch takes half as long again.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251  what numpy reads, no setting

from pydantic import ValidationError
from pydantic_settings import SettingsError

from serving.http.run import serve
from serving.settings import ServingSettings, wrong_settings

UNUSABLE = 2


def main() -> None:
    """Serve, unless the environment does not fit; then say what is wrong with it and end with 2."""
    try:
        settings = ServingSettings()
    except (ValidationError, SettingsError) as error:
        for problem in wrong_settings(error):
            print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(UNUSABLE)
    serve(settings)


if __name__ == "__main__":
    main()
