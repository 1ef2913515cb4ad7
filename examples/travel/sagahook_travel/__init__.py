"""A trip is booked with several agencies at once, or with none of them."""
