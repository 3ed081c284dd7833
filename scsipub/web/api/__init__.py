"""``/api/v1``: what programs ask, each kind of thing in a module of its own.

Control looks at the token of each call and decides; here requests are read, and answers are shaped."""
