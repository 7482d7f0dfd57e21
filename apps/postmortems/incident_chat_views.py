"""Where a workspace sends its slash command: no cookie opens it, only the workspace's signature."""

from __future__ import annotations

import logging
from typing import ClassVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from apps.postmortems.incident_chat import Unsigned
from apps.postmortems.incident_chat_services import call_answer, call_check

log = logging.getLogger("bulkhead.incidents")
MOST_BYTES = 64 * 1024


@method_decorator(csrf_exempt, name="dispatch")
class ChatView(View):
    """POST ``/incidents/chat/<organisation>/``. 401 for whatever was not signed by its workspace, without saying what is wrong with it."""

    http_method_names: ClassVar[list[str]] = ["post"]

    def post(self, request: HttpRequest, organisation: str) -> HttpResponse:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MOST_BYTES:
            return _refused()
        body = request.body
        fields = {name: value for name, value in request.POST.items() if isinstance(value, str)}
        try:
            chat = call_check(
                organisation=organisation,
                timestamp=request.headers.get("X-Slack-Request-Timestamp", ""),
                signature=request.headers.get("X-Slack-Signature", ""),
                body=body,
                workspace=fields.get("team_id", ""),
            )
        except Unsigned as error:
            log.warning("a slash command for %s was refused: %s", organisation, error)
            return _refused()
        return JsonResponse(call_answer(chat=chat, fields=fields).document())


def _refused() -> HttpResponse:
    return JsonResponse({"error": "This request is not signed by the workspace that this address belongs to."}, status=401)
