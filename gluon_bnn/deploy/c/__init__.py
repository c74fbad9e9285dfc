"""A net as one C99 header that needs nothing but <stdint.h>: `save`, as `deploy.forms` takes it. Needs no MXNet."""

from .header import save

__all__ = ["save"]


def __dir__():
    return __all__
