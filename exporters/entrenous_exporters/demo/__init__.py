"""`entrenous demo`: real trips, replayed under consent."""
