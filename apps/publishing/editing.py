"""Editing one thing in a page: the form, the diff of what it would publish, then publishing it.

One address, one template. GET shows the form. POST validates and previews: the same page shows what proxies would get, a
reason field and *Publish*. POST with ``publish`` set does it, once, and goes on to ``done_url`` with a toast.

Three things may happen in between, and none loses what was typed: somebody else changes the same thing (``revision``), the
person sends the form twice (``submission``), the person changes the form after the review (``reviewed``).

What a document manages is shown as what to write there instead of being published (``apps.publishing.managed``); ``anyway`` in the POST
does it all the same.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from apps.accounts.pages import ScopedView, refusal_text
from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.contracts.snapshot import NEVER_ROLLED_BACK
from apps.publishing.managed import OVERRIDE, Guard, ManagedByDocument, Touched, guilty_of
from apps.publishing.models import Version
from apps.publishing.naming import names_of
from apps.publishing.preview import Preview, change_preview, change_publish
from apps.publishing.submissions import submission_claim, submission_close, submission_url
from apps.publishing.wording import worded
from apps.ui.toasts import toast

__all__ = ["ActionView", "EditView", "ScopedView", "refusal_text", "undo_url"]

REASON_LENGTH = 2000
CONTROLS = frozenset({"csrfmiddlewaretoken", "revision", "submission", "reviewed", "reason", "publish", "restored", "anyway"})
"""Fields of the page itself; a form must not have one of these names."""


class EditView(ScopedView, ABC):
    """Create or edit one thing that proxies learn of.

    form_class: its field names are the service's argument names, so that a ServiceError finds its field; a secret's
    PasswordInput needs ``render_value=True``, or it would be gone after the review. kind: the audit's ``subject_kind``.
    reason_required: whether *Publish* takes a reason. reversible: whether the toast offers *Undo*. guarded: whether what a document
    manages is held up.
    """

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    form_class: type[forms.Form]
    kind: ClassVar[str] = ""
    template: ClassVar[str] = "publishing/edit.html"
    reason_required: ClassVar[bool] = False
    reversible: ClassVar[bool] = True
    guarded: ClassVar[bool] = True
    held: tuple[Touched, ...] = ()
    """What the reviewed change would make read otherwise than the document that manages it."""

    object: Any = None
    """What ``subject()`` returned, for ``initial``, ``change`` and the rest."""

    # --- what a page says -------------------------------------------------------------------------------------------

    def subject(self) -> Any | None:
        """The object edited, read anew on every call; None when creating. Raises Http404."""
        return None

    def initial(self) -> dict[str, Any]:
        """The form's values of ``self.object``; also what its revision is made of."""
        return {}

    def form_kwargs(self) -> dict[str, Any]:
        """Further arguments of the form, such as its organisation for choices."""
        return {}

    @abstractmethod
    def change(self, form: forms.Form) -> Any:
        """Call the app's services with the form's ``cleaned_data``. Runs twice: for the preview, and to publish."""

    @abstractmethod
    def done_url(self, result: Any) -> str:
        """Where to go afterwards; ``result``: what ``change`` returned."""

    def done_message(self, result: Any) -> str:
        """The toast, in the past tense: ``Route chat published``."""
        return f"{self.kind.capitalize()} {result} saved"

    def title(self) -> str:
        """The page's heading."""
        return f"New {self.kind}" if self.object is None else f"Edit {self.object}"

    def crumbs(self) -> list[tuple[str, str]]:
        """(label, URL) of the pages above this one."""
        return []

    def cancel_url(self) -> str:
        """Where *Cancel* goes: the page above, unless told otherwise."""
        return ".."

    def field_of(self, name: str | None, form: forms.Form) -> str | None:
        """The form's field for a ServiceError's: itself, or what it begins with (``targets[0].model`` -> ``targets``)."""
        if not name:
            return None
        root = name.replace("[", ".").split(".", 1)[0]
        return next((field for field in (name, name.replace(".", "_"), root) if field in form.fields), None)

    def reshape(self, data: QueryDict) -> QueryDict | None:
        """For a button that only reshapes the form, such as *Add a target*: the data with that done; None: no such button.
        The form is shown again, and nothing is judged or done."""
        return None

    def preview(self, form: forms.Form) -> Preview[Any]:
        """What publishing would change: the change itself, done and undone."""
        guard = self._guard(form, refuse=False)
        found = change_preview(actor=self.actor, change=guard)
        self.held = tuple(guilty_of(one for one in guard.touched if not one.at_once))
        return found

    def managed_of(self) -> tuple[str, str]:
        """(kind, id) by which a document would manage the thing; empty ones where none can."""
        return (self.kind, str(getattr(self.object, "pk", ""))) if self.object is not None else ("", "")

    def context(self) -> dict[str, Any]:
        """More for an own template."""
        return {}

    @property
    def reason(self) -> str:
        """Why, as the person wrote it; empty in the first preview. For services that take one."""
        return self.request.POST.get("reason", "").strip()[:REASON_LENGTH]

    # --- the flow ---------------------------------------------------------------------------------------------------

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.object = self.subject()
        form = self.form_class(initial=self.initial(), **self.form_kwargs())
        return self._page(form, submission=secrets.token_urlsafe(16))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.object = self.subject()
        done = submission_url(user=request.user, nonce=self._nonce()) if "publish" in request.POST else ""
        if done:  # before anything else: what was done has changed the revision
            return redirect(done)
        form = self.form_class(request.POST, request.FILES, initial=self.initial(), **self.form_kwargs())
        if "restored" in request.POST:
            return self._page(form, restored=True, revision=self._sent_revision())
        reshaped = self.reshape(request.POST.copy())
        if reshaped is not None:
            form = self.form_class(reshaped, request.FILES, initial=self.initial(), **self.form_kwargs())
            form.errors.clear()  # it is being filled in still: what is missing so far is no mistake
            return self._page(form, revision=self._sent_revision())
        if self._revision() != self._sent_revision().partition("@")[0]:
            return self._page(form, conflict=self._changed_since(), conflicted=True, status=409)
        if not form.is_valid():
            return self._page(form, revision=self._sent_revision(), status=400)
        missing_reason = (self.reason_required or "anyway" in request.POST) and not self.reason
        if "publish" in request.POST and request.POST.get("reviewed") == self._fingerprint() and not missing_reason:
            return self._publish(form)
        return self._review(form, missing_reason="publish" in request.POST and missing_reason)

    def _guard(self, form: forms.Form, *, refuse: bool) -> Guard[Any]:
        act, anyway = partial(self.change, form), "anyway" in self.request.POST
        return Guard(
            act, actor=self.actor, organisation=self.choice.organisation, anyway=anyway, refuse=refuse, reason=self.reason,
            again=self._read_again,
        )  # fmt: skip

    def _read_again(self) -> None:
        self.object = self.subject()

    def _review(self, form: forms.Form, *, missing_reason: bool = False, refused: bool = False) -> HttpResponse:
        try:
            review = self.preview(form)
        except Exception as error:
            self._refuse(form, error)
            return self._page(form, revision=self._sent_revision(), status=400)
        changed_after = "publish" in self.request.POST and not missing_reason and not refused
        shown = review.changes or review.records
        context = {"review": review, "changed_after_review": changed_after, "missing_reason": missing_reason}
        context["shown"] = worded(shown, names_of(shown, self.choice.names))
        context |= {"held": self.held, "may_override": bool(self.held) and self.choice.may(OVERRIDE), "refused": refused}
        status = 409 if refused else 400 if missing_reason else 200
        return self._page(form, revision=self._sent_revision(), reviewed=self._fingerprint(), status=status, **context)

    def _publish(self, form: forms.Form) -> HttpResponseBase:
        url, result, version = "", None, None
        try:
            with transaction.atomic():
                self._lock()
                # A second sending waits here for the first, then finds it done.
                if submission_claim(user=self.request.user, nonce=self._nonce()):
                    self.object = self.subject()
                    if self._revision() != self._sent_revision().partition("@")[0]:
                        raise _ChangedMeanwhile
                    change = self._guard(form, refuse=True) if self.guarded else partial(self.change, form)
                    result, version = change_publish(actor=self.actor, reason=self.reason, change=change)
                    url = self.done_url(result)
                    submission_close(user=self.request.user, nonce=self._nonce(), url=url)
        except _ChangedMeanwhile:
            return self._page(form, conflict=self._changed_since(), conflicted=True, status=409)
        except ManagedByDocument:
            return self._review(form, refused=True)
        except Exception as error:
            self._refuse(form, error)
            return self._page(form, revision=self._sent_revision(), status=400)
        if not url:
            return redirect(submission_url(user=self.request.user, nonce=self._nonce()))
        if version is None and isinstance(result, Version):
            version = result  # a rollback publishes by itself
        toast(self.request, self.done_message(result), undo_url=undo_url(version) if self.reversible else None)
        return redirect(url)

    def _page(
        self, form: forms.Form, *, revision: str = "", submission: str = "", reviewed: str = "", status: int = 200, **more: Any
    ) -> HttpResponse:
        context = {
            "form": form,
            "object": self.object,
            "kind": self.kind,
            "title": self.title(),
            "crumbs": self.crumbs(),
            "cancel_url": self.cancel_url(),
            "choice": self.choice,
            "revision": revision or f"{self._revision()}@{datetime.now(UTC).isoformat(timespec='microseconds')}",
            "submission": submission or self._nonce() or secrets.token_urlsafe(16),
            "reviewed": reviewed,
            "reason": self.request.POST.get("reason", ""),
            "reason_required": self.reason_required,
            "review": None,
            "managed": self.managed_of(),
            **self.context(),
            **more,
        }
        return render(self.request, self.template, context, status=status)

    def _refuse(self, form: forms.Form, error: Exception) -> None:
        """The error beside its field or on top. Raises it where it is none of the person's."""
        message, field = refusal_text(error)
        form.add_error(self.field_of(field, form), message)

    # --- who else was here ------------------------------------------------------------------------------------------

    def _revision(self) -> str:
        """A short text that is another one as soon as the thing is; empty when creating."""
        if self.object is None:
            return ""
        own = getattr(self.object, "revision", None)
        if callable(own):
            return str(own())
        return hashlib.sha256(json.dumps(self.initial(), sort_keys=True, default=str).encode()).hexdigest()[:24]

    def _sent_revision(self) -> str:
        """``<revision>@<when the form was opened>`` as the form sent it."""
        return self.request.POST.get("revision", "")[:200]

    def _changed_since(self) -> list[AuditEvent]:
        """What the audit says of the thing since the form was opened, newest first; the last change where that is unknown."""
        if self.object is None:
            return []
        events = audit_events(subject_kind=self.kind, subject_id=self.object.pk)
        try:
            opened = datetime.fromisoformat(self._sent_revision().partition("@")[2])
            return list(events.filter(at__gte=opened)[:5]) or list(events[:1])
        except (ValueError, TypeError):
            return list(events[:1])

    def _lock(self) -> None:
        """Two who publish the same thing take turns, so that the second sees what the first did."""
        if self.object is not None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"edit {self.kind} {self.object.pk}"])

    def _nonce(self) -> str:
        return self.request.POST.get("submission", "")[:64]

    def _fingerprint(self) -> str:
        """What was reviewed: a hash over every field as sent, so that nothing else is published than what was shown."""
        sent = {name: self.request.POST.getlist(name) for name in self.request.POST if name not in CONTROLS}
        return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()[:24]


class ActionView(ScopedView, ABC):
    """One act on one thing, from a dialog: POST with a ``reason``, then a toast on ``done_url``. Wrong method: 405.

    A refusal becomes a toast on the same page; a second sending finds nothing left to do, which services answer quietly. What a document
    manages is shown as what to write there, with the same POST and ``anyway`` for who may.
    """

    http_method_names: ClassVar[list[str]] = ["post"]
    reason_required: ClassVar[bool] = True
    reversible: ClassVar[bool] = True
    publishes: ClassVar[bool] = True
    """Whether proxies may have to hear of it. Where not, nothing is published: neither is the lock waited for, nor what others left
    unpublished taken along in this person's name."""
    object: Any = None

    @abstractmethod
    def subject(self) -> Any:
        """The object acted on. Raises Http404."""

    @abstractmethod
    def change(self, reason: str) -> Any:
        """Call the app's services; publishing follows by itself, where it ``publishes``."""

    @abstractmethod
    def done_url(self) -> str:
        """Where to go afterwards, also when it was refused."""

    @abstractmethod
    def done_message(self, result: Any) -> str:
        """The toast, in the past tense."""

    def after_publish(self, result: Any, version: Version | None) -> None:
        """What is kept of it in the same transaction, once it is published. version: None where no proxy sees a difference."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.object = self.subject()
        reason = request.POST.get("reason", "").strip()[:REASON_LENGTH]
        if self.reason_required and not reason:
            toast(request, "Nothing was done: say why in the reason field.", tone="bad")
            return redirect(self.done_url())
        guard = Guard(
            lambda: self.change(reason), actor=self.actor, organisation=self.choice.organisation, anyway="anyway" in request.POST,
            reason=reason, again=self._read_again,
        )  # fmt: skip
        try:
            with transaction.atomic():
                result, version = change_publish(actor=self.actor, reason=reason, change=guard) if self.publishes else (guard(), None)
                self.after_publish(result, version)
        except ManagedByDocument as refused:
            return self._held(refused)
        except Exception as error:
            toast(request, refusal_text(error)[0], tone="bad")
            return redirect(self.done_url())
        told = [self.done_message(result), *(one.next_apply for one in guard.touched)]
        toast(request, " ".join(told), undo_url=undo_url(version) if self.reversible else None)
        return redirect(self.done_url())

    def _read_again(self) -> None:
        self.object = self.subject()

    def _held(self, refused: ManagedByDocument) -> HttpResponse:
        """What to write into the document instead, and the same POST again for who may."""
        sent = [(name, value) for name in self.request.POST for value in self.request.POST.getlist(name) if name not in CONTROLS]
        context = {
            "choice": self.choice,
            "held": refused.touched,
            "message": refused.message,
            "may_override": self.choice.may(OVERRIDE),
            "sent": sent,
            "reason": self.request.POST.get("reason", ""),
            "back_url": self.done_url(),
        }
        return render(self.request, "publishing/held.html", context, status=409)


class _ChangedMeanwhile(Exception):
    """The thing has another revision than the form."""


def undo_url(version: Version | None) -> str | None:
    """Where a POST takes a version back; None where nothing was published, or what was never comes back (keys, credentials)."""
    if version is None or not version.counts or any(section in NEVER_ROLLED_BACK for section in version.counts):
        return None
    return reverse("publishing:undo", args=[version.number])
