"""Files of a folder as answers: which one a path means, how it is opened, what of it is sent, and when not at all."""
