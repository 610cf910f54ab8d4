"""Requests in, responses out. `routes` lists every route with its scope.

A request passes `asgi` and `body`, then `fast_path` or Falcon's `resources`. May import `auth`,
`pipeline`, `parsing` and `event`.
"""
