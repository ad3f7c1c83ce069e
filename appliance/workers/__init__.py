"""More processes than one: ``crew`` has them in the main process, ``worker`` is one of them; they say ``messages``."""
