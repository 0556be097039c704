"""What the readers make of any octets: targets, seeds, and two ways to find new octets for them."""
