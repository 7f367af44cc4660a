"""`python -m serving`: the scoring service, as the lean image runs it."""

import os

# Read when numpy is imported. The products of a batch are small: more threads only wait for each
# other, and where another process has the second core a batch takes half as long again.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251  what numpy reads, no setting

from serving.http.run import main

if __name__ == "__main__":
    main()
