"""How good predictions are against the truth, as states that merge: below the rooms that train, release and monitor."""
