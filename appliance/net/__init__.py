"""Sockets and the reactor's turn: clients' ways in, and writes, deadlines and ends of all connections."""
