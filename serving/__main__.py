"""`python -m serving`: the scoring service, as the lean image runs it."""

from serving.http.run import main

if __name__ == "__main__":
    main()
