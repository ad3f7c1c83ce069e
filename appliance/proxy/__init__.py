"""Applications: routes to them, connections to them, exchanges with them."""
