"""What keeps names from being certified and applications from being proxied well: looked for, and explained."""
