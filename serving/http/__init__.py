"""The only part that speaks HTTP: it translates, one call in the middle."""
