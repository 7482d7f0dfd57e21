"""Flipping a flag: the dialog with its measured consequences, and the flip itself.

The page works without script and from a link; what was shown is kept with the flip. A session that ends in the middle brings the form
back with everything typed (``apps.accounts.carried``), and a form that is sent twice flips once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse

from apps.accounts.pages import refusal_text
from apps.flags.change_rules import OFF, Standing, rule_words
from apps.flags.changes import flip_submit
from apps.flags.consequences import Prediction
from apps.flags.detail import FlagDetail
from apps.flags.flips import flip_note
from apps.flags.forms import LENGTHS, PARTS, REASONS, USUAL_LENGTH, FlipForm
from apps.flags.four_eyes import rule_for, rule_of, standing_of
from apps.flags.models import ChangeRequest, Flag
from apps.flags.views import FlagView
from apps.publishing.errors import PublishError
from apps.publishing.preview import change_publish
from apps.publishing.submissions import submission_claim, submission_close, submission_url
from apps.ui.toasts import toast

SALT = "apps.flags.flip"
SHOWN_SECONDS = 900
"""What was shown longer ago than this is worked out anew before the flip."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page asks: verb and object, and what it takes. two: in words, why a second person is needed; empty where one is enough."""

    verb: str
    question: str
    two: str
    may_flip: bool
    may_break_glass: bool


class FlipView(FlagView):
    """``/flags/<name>/on/`` and ``/flags/<name>/off/``."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "post"]
    permission = "change.request"
    turn_on: ClassVar[bool] = True

    def get(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        detail = self.detail()
        form = FlipForm(initial={"minutes": USUAL_LENGTH, "part": "all"})
        return self._page(detail, form, prediction=detail.question(on=self.turn_on).answer(), submission=secrets.token_urlsafe(16))

    def post(self, request: HttpRequest, flag: str) -> HttpResponseBase:
        nonce = request.POST.get("submission", "")[:64]
        done = submission_url(user=request.user, nonce=nonce)
        if done:
            return redirect(done)
        detail, form = self.detail(), FlipForm(request.POST)
        shown = shown_read(request.POST.get("shown", ""), detail.flag)
        if "restored" in request.POST:
            return self._page(detail, form, prediction=shown or detail.question(on=self.turn_on).answer(), restored=True)
        seen = request.POST.get("seen", "")
        if seen and seen != stands(detail.flag):
            return self._page(detail, form, prediction=detail.question(on=self.turn_on).answer(), changed=True, status=409)
        if not form.is_valid():
            return self._page(detail, form, prediction=shown or detail.question(on=self.turn_on).answer(), status=400)
        facts = form.facts(on=self.turn_on, now=datetime.now(UTC))
        share, alone = facts.get("share", 100), facts.get("simulated_only", False)
        if shown is None or share != 100 or alone:
            shown = detail.question(on=self.turn_on, share=share, simulated_only=alone).answer()
        try:
            url = self._flip(detail, facts, shown, nonce)
        except Exception as error:
            return self._refused(detail, form, shown, error)
        return redirect(url or submission_url(user=request.user, nonce=nonce))

    def _flip(self, detail: FlagDetail, facts: dict[str, Any], shown: Prediction, nonce: str) -> str:
        """Flip, publish, keep what was shown; all of it or nothing. Returns where that is seen, empty where it was done meanwhile."""
        flag = detail.flag
        with transaction.atomic():
            if not submission_claim(user=self.request.user, nonce=nonce):
                return ""

            def change() -> Flag | ChangeRequest:
                return flip_submit(actor=self.actor, organisation=self.choice.organisation, name=flag.name, **facts)

            result, version = change_publish(actor=self.actor, reason=facts["reason"], change=change)
            url = detail.url
            if isinstance(result, Flag) or result.state == "applied":
                flipped = result if isinstance(result, Flag) else Flag.objects.get(pk=flag.pk)
                if version is not None:
                    flip_note(actor=self.actor, flag=flipped, prediction=shown, version=version, simulated=self.choice.simulated)
                    url = f"{detail.url}?version={version.number}"
                self._say(flipped, version is not None)
            else:
                url = request_url(result) or url
                toast(
                    self.request,
                    f"Asked for: somebody else has to approve that {flag.name} goes {'on' if self.turn_on else 'off'}.",
                    tone="info",
                )
            submission_close(user=self.request.user, nonce=nonce, url=url)
        return url

    def _say(self, flag: Flag, changed: bool) -> None:
        state = "on" if flag.on else "off"
        toast(
            self.request, f"{flag.name} is {state}." if changed else f"{flag.name} was {state} already.", tone="ok" if changed else "info"
        )

    def _refused(self, detail: FlagDetail, form: FlipForm, shown: Prediction, error: Exception) -> HttpResponse:
        message, field = refusal_text(error)
        unanswered = isinstance(error, PublishError) and field == "acknowledge"
        form.add_error(field if field in form.fields else None, message)
        return self._page(detail, form, prediction=shown, may_acknowledge=unanswered and self.turn_on, status=400)

    def _asked(self, detail: FlagDetail) -> Asked:
        flag, on = detail.flag, self.turn_on
        after = Standing(True, None, 100, False) if on else OFF
        rule = rule_for(flag, standing_of(flag).at(detail.now), after)
        may_flip = self.choice.may("flag.flip", team=flag.owner_id) if flag.owner_id else self.choice.may("flag.flip")
        words = rule_words(rule_of(rule), team=rule.team.name if rule.team else "") if rule is not None else ""
        glass = rule is not None and may_flip and self.choice.may("breakglass.use", team=flag.owner_id or None)
        verb = f"Turn {'on' if on else 'off'}"
        return Asked(verb, f"{verb} {detail.thing}?", words, may_flip, glass)

    def _page(
        self, detail: FlagDetail, form: FlipForm, *, prediction: Prediction, submission: str = "", status: int = 200, **more: Any
    ) -> HttpResponse:
        already = detail.on == self.turn_on and (not self.turn_on or not detail.part)
        context = {
            "choice": self.choice,
            "detail": detail,
            "flag": detail.flag,
            "on": self.turn_on,
            "asked": self._asked(detail),
            "already": already,
            "prediction": prediction,
            "form": form,
            "chips": REASONS,
            "lengths": LENGTHS,
            "parts": PARTS,
            "chosen": {name: form[name].value() or "" for name in ("chip", "reason", "minutes", "part")},
            "shown": shown_keep(prediction, detail.flag),
            "seen": stands(detail.flag),
            "submission": submission or self.request.POST.get("submission", "")[:64] or secrets.token_urlsafe(16),
            **more,
        }
        return render(self.request, "flags/flip.html", context, status=status)


class OnView(FlipView):
    """``/flags/<name>/on/``."""

    turn_on = True


class OffView(FlipView):
    """``/flags/<name>/off/``."""

    turn_on = False


def stands(flag: Flag) -> str:
    """How a flag stands, as a form carries it: another text as soon as it was flipped or edited."""
    return f"{'on' if flag.in_force() else 'off'} {flag.changed_at.isoformat()}"


def shown_keep(prediction: Prediction, flag: Flag) -> str:
    """What is shown, signed, so that it can be kept with the flip."""
    return signing.dumps([str(flag.pk), msgspec.to_builtins(prediction)], salt=SALT, compress=True)


def shown_read(text: str, flag: Flag) -> Prediction | None:
    """What was shown; None for nothing, another flag's, a changed text, or what is too old to be true still."""
    try:
        flag_id, found = signing.loads(text, salt=SALT, max_age=SHOWN_SECONDS)
        return msgspec.convert(found, Prediction) if flag_id == str(flag.pk) else None
    except (signing.BadSignature, msgspec.ValidationError, ValueError):
        return None


def request_url(change: ChangeRequest) -> str:
    """The page of a request; empty where there is none."""
    try:
        return reverse("changes:detail", args=[change.pk])
    except NoReverseMatch:
        return ""
