"""What apps ask for beside chat: embeddings, rerank, moderations, images, transcriptions, translations and speech.

``OPERATIONS`` is the register: path -> what is asked for there. All go through the same engine as chat; an operation knows how its
request is read, how a target is asked it, how the answer is counted, and what it can cost at most.
"""

from apps.proxy.operations.base import Operation
from apps.proxy.operations.embeddings import EMBEDDINGS
from apps.proxy.operations.images import IMAGE_EDITS, IMAGE_VARIATIONS, IMAGES
from apps.proxy.operations.moderations import MODERATIONS
from apps.proxy.operations.rerank import RERANK
from apps.proxy.operations.speech import SPEECH
from apps.proxy.operations.transcriptions import TRANSCRIPTIONS, TRANSLATIONS

OPERATIONS: dict[str, Operation] = {
    "/v1/embeddings": EMBEDDINGS,
    "/v1/rerank": RERANK,
    "/v2/rerank": RERANK,
    "/v1/moderations": MODERATIONS,
    "/v1/images/generations": IMAGES,
    "/v1/images/edits": IMAGE_EDITS,
    "/v1/images/variations": IMAGE_VARIATIONS,
    "/v1/audio/transcriptions": TRANSCRIPTIONS,
    "/v1/audio/translations": TRANSLATIONS,
    "/v1/audio/speech": SPEECH,
}
UPLOADS = frozenset(path.encode() for path, operation in OPERATIONS.items() if operation.uploads)
"""Paths whose bodies are files: they may be larger than JSON may."""

__all__ = ["OPERATIONS", "UPLOADS", "Operation"]
