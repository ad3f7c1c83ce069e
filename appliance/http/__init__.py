"""HTTP on the client's side: heads, bodies, the connection, the pages."""
