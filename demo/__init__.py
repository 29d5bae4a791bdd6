"""Two small real shops, legacy and new, that differ on purpose, and visitors who use them."""
