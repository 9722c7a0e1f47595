"""What runs beside the loops: sweep, upkeep, bulk redelivery."""
