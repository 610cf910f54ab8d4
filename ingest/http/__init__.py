"""HTTP: from ASGI requests to the pipeline, and back. `routes` defines routes and their scopes.

A request passes `asgi` and `body`, then either `fast_path` or the Falcon app with `resources`. May
import `auth`, `pipeline`, `parsing` and `event`.
"""
