"""How the events of other systems become ours: tables that `entrenous import --mapping NAME` reads."""
