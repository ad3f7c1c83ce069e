"""A small ACME server for demonstrations, rehearsals and tests. **Not for production names**: nobody trusts its roots.

It speaks RFC 8555 and RFC 9773 strictly, really validates HTTP-01, and can be made to fail in all the ways that CAs do.
``server.EmbeddedCa`` is the CA without sockets, ``listening.CaService`` puts one on a loopback port, and
``memory.MemoryAgent`` connects a client to one inside the process. ``policy.Policy`` holds every knob.

Each request goes through ``server`` (routes), ``accounts.authenticate`` (signature and nonce) and one endpoint in
``accounts``, ``orders``, ``authorizations`` or ``certificates``: functions of ``core.Core``, which holds all state.
The records and their state tables are in ``model``; ``authority`` signs. Nothing up to there knows Twisted.
"""
