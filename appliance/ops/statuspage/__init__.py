"""The status page: the status document as HTML, and its buttons."""
