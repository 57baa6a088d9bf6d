"""The page and the HTTP API: uploads are classified, a library is shown, nothing is computed here.

Requests are answered by FastAPI (`app`, `api`), after `guard` has checked where they come from and
how large they are. Uploaded files are decoded and classified in worker processes (`pool`, `worker`)
that have limits on memory and time and are replaced when they die. `collection` shows a library
under ids instead of paths.

Conventions
-----------
No response names a path of the server's disk. Errors are RFC 9457 problem documents.
"""

from genrescope.service.settings import ServiceSettings

__all__ = ["ServiceSettings"]
