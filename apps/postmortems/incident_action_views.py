"""What people do to an incident from its page: say, note, move, take, give roles, pin, leave out.

What carries a text is shown again with it where it is refused; the rest becomes a toast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from io import BytesIO
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone as clock
from django.utils.dateparse import parse_datetime

from apps.accounts.models import User
from apps.audit.errors import ServiceError
from apps.postmortems import incident_people, incident_services, timeline_services
from apps.postmortems.incident_attachments import IMAGES
from apps.postmortems.incident_checks import allowed
from apps.postmortems.incident_choices import ROLES
from apps.postmortems.incident_forms import moment_read
from apps.postmortems.incident_models import Incident, IncidentAttachment, TimelineEntry
from apps.postmortems.incident_views import OneIncident, detail_page
from apps.postmortems.tasks import impact_refresh
from apps.publishing.editing import ActionView, refusal_text
from apps.publishing.submissions import submission_claim, submission_close
from apps.ui.toasts import toast


class WritingView(OneIncident, ABC):
    """A form of the page that carries a text: done once however often it is sent; refused, the page comes back with the text in it."""

    http_method_names: ClassVar[list[str]] = ["post"]
    permission = "incident.note"
    form_name: ClassVar[str] = ""

    @abstractmethod
    def act(self) -> str:
        """Do it; what the toast says."""

    def post(self, request: HttpRequest, incident_id: UUID) -> HttpResponseBase:
        if "restored" in request.POST:
            return detail_page(self, self._kept(""))
        nonce = request.POST.get("submission", "")[:64]
        try:
            with transaction.atomic():
                if not submission_claim(user=request.user, nonce=nonce):
                    return redirect(self.url)
                said = self.act()
                submission_close(user=request.user, nonce=nonce, url=self.url)
        except Exception as error:
            message, _ = refusal_text(error)
            return detail_page(self, self._kept(message), status=400)
        toast(request, said)
        return redirect(self.url)

    def written(self, name: str) -> str:
        """A field as it was sent."""
        return self.request.POST.get(name, "")

    def _kept(self, message: str) -> dict[str, Any]:
        return {"form": self.form_name, "error": message, **{name: self.written(name) for name in ("text", "at", "state", "public")}}


class UpdateView(WritingView):
    """POST ``/incidents/<id>/say/``: a status update, a new state, or both; ``at``: since when it stands so."""

    form_name = "update"

    def act(self) -> str:
        state, text, public = self.written("state"), self.written("text"), "public" in self.request.POST
        if state and state != self.incident.state:
            at = moment_read(self.written("at"), "at", today=clock.now())
            row = incident_services.incident_move(actor=self.actor, incident=self.incident, to=state, at=at, text=text, public=public)
            return f"{row.reference} is {row.get_state_display().lower()}."
        timeline_services.incident_say(actor=self.actor, incident=self.incident, text=text, public=public)
        return "Told."


class NoteView(WritingView):
    """POST ``/incidents/<id>/note/``: a note, a file, or both; ``at``: when that was."""

    form_name = "note"

    def act(self) -> str:
        at, text = moment_read(self.written("at"), "at", today=clock.now()), self.written("text")
        file = self.request.FILES.get("file")
        if file is not None:
            most = timeline_services.MOST_BYTES + 1
            timeline_services.attachment_add(
                actor=self.actor, incident=self.incident, name=file.name or "", body=file.read(most), text=text, at=at
            )
            return "Kept."
        entry = timeline_services.note_add(actor=self.actor, incident=self.incident, text=text, at=at)
        return "Kept whole, as a file." if entry.kind == "attachment" else "Written down."


class IncidentAction(OneIncident, ActionView):
    """An act without a text of its own. It reaches no proxy, so there is nothing to undo by a version."""

    permission = "incident.view"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = False
    publishes: ClassVar[bool] = False

    def subject(self) -> Any:
        return self.incident

    def done_url(self) -> str:
        return self.url


class TakeView(IncidentAction):
    """POST ``/incidents/<id>/acknowledge/``: one looks after it; its alerts that fire are taken, too."""

    def change(self, reason: str) -> Incident:
        return incident_people.incident_acknowledge(actor=self.actor, incident=self.incident)

    def done_message(self, result: Incident) -> str:
        return f"You look after {result.reference}."


class RolesView(IncidentAction):
    """POST ``/incidents/<id>/roles/``: who is commander, scribe and liaison; a field that is not sent stays."""

    def change(self, reason: str) -> Incident:
        allowed(self.actor, self.incident)  # also where no field is sent
        row = self.incident
        for role in ROLES:
            if role not in self.request.POST:
                continue
            row = incident_people.incident_role_set(actor=self.actor, incident=row, role=role, person=self._person(role))
        return row

    def done_message(self, result: Incident) -> str:
        return "Roles are given."

    def _person(self, role: str) -> User | None:
        written = self.request.POST.get(role, "")
        if not written:
            return None
        try:
            found = User.objects.filter(pk=UUID(written)).first()
        except ValueError:
            found = None
        if found is None:
            raise ServiceError("There is no such person: choose one of the list.", "person")
        return found


class ScopeView(IncidentAction):
    """POST ``/incidents/<id>/scope/`` with ``field`` and ``value``: name something that the data say is hit."""

    def change(self, reason: str) -> Incident:
        field, value = self.request.POST.get("field", ""), self.request.POST.get("value", "")
        if field not in incident_services.SCOPES or not value:
            raise ServiceError("Say what is hit: reload the page and choose again.", "field")
        names = [*getattr(self.incident, field), value]
        facts: dict[str, Any] = {field: names}
        return incident_services.incident_update(actor=self.actor, incident=self.incident, **facts)

    def done_message(self, result: Incident) -> str:
        return "Named; the impact is measured again within a minute."


class WindowView(IncidentAction):
    """POST ``/incidents/<id>/window/``: let the window follow the data again, or with ``take`` keep what the data propose."""

    def change(self, reason: str) -> Incident:
        since, until = (parse_datetime(self.request.POST.get(name, "")) for name in ("since", "until"))
        if "take" not in self.request.POST:
            since = until = None
        return incident_services.incident_window_set(actor=self.actor, incident=self.incident, since=since, until=until, reason=reason)

    def done_message(self, result: Incident) -> str:
        return "The window is set." if result.impact_set_by else "The window follows the data."


class MeasureView(IncidentAction):
    """POST ``/incidents/<id>/measure/``: measure the impact now, in the background."""

    def change(self, reason: str) -> Incident:
        allowed(self.actor, self.incident)
        key = str(self.incident.pk)
        transaction.on_commit(lambda: impact_refresh.delay(key), robust=True)  # without a broker the next round measures it
        return self.incident

    def done_message(self, result: Incident) -> str:
        return "It is being measured: the panel says how far that is."


class SuspectView(IncidentAction):
    """POST ``/incidents/<id>/suspect/`` with ``key`` and ``at``: put a suspected change into the timeline, pinned."""

    def change(self, reason: str) -> TimelineEntry:
        at = parse_datetime(self.request.POST.get("at", ""))
        if at is None:
            raise ServiceError("That change is not known any more: reload the page.", "key")
        key = self.request.POST.get("key", "")[:80]
        return timeline_services.suspect_pin(actor=self.actor, incident=self.incident, key=key, at=at)

    def done_message(self, result: TimelineEntry) -> str:
        return "Pinned in the timeline."


class EntryAction(IncidentAction):
    """An act on one entry of the timeline."""

    def subject(self) -> Any:
        row = TimelineEntry.objects.filter(incident=self.incident, pk=self.kwargs["entry_id"]).first()
        if row is None:
            raise Http404("There is no such entry.")
        return row


class PinView(EntryAction):
    """POST ``/incidents/<id>/entries/<id>/pin/``: pin it, or let it go."""

    def change(self, reason: str) -> TimelineEntry:
        return timeline_services.entry_pin(actor=self.actor, entry=self.object, pinned=not self.object.pinned)

    def done_message(self, result: TimelineEntry) -> str:
        return "Pinned." if result.pinned else "No longer pinned."


class HideView(EntryAction):
    """POST ``/incidents/<id>/entries/<id>/hide/``: leave it out, or take it back in."""

    def change(self, reason: str) -> TimelineEntry:
        return timeline_services.entry_hide(actor=self.actor, entry=self.object, hidden=not self.object.hidden, reason=reason)

    def done_message(self, result: TimelineEntry) -> str:
        return "Left out of the story." if result.hidden else "Back in the story."


class AttachmentView(OneIncident):
    """``/incidents/<id>/entries/<id>/file/``: the file, to be saved; a picture is shown."""

    http_method_names: ClassVar[list[str]] = ["get", "head"]

    def get(self, request: HttpRequest, incident_id: UUID, entry_id: UUID) -> HttpResponseBase:
        rows = IncidentAttachment.objects.filter(entry__incident=self.incident, entry_id=entry_id)
        file = rows.first()
        if file is None:
            raise Http404("There is no such file.")
        return _sent(file)


def _sent(file: IncidentAttachment) -> HttpResponse | FileResponse:
    shown = file.kind in IMAGES
    kind = file.kind if shown else "text/plain; charset=utf-8"
    response = FileResponse(BytesIO(bytes(file.body)), as_attachment=not shown, filename=file.name, content_type=kind)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
