"""Wire formats: pure translation, no sockets, one file each. They do not know each other.

``DIALECTS`` is the register: a provider's ``kind`` names its dialect here and nowhere else.
"""

from apps.proxy.dialects.base import Dialect, StreamWatch
from apps.proxy.dialects.openai import OpenAIDialect

DIALECTS: dict[str, Dialect] = {"openai": OpenAIDialect()}

__all__ = ["DIALECTS", "Dialect", "StreamWatch"]
