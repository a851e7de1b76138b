"""What a regularizer is: kinds, dials, schedules, keyed randomness, selection, recipes and their files."""
