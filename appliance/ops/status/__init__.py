"""Where every site stands: the document, from a running service or from its folder, and the table of it."""
