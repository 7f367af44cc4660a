"""The repository of `feast -c features/feast_repo`: one file of settings, one of definitions."""
