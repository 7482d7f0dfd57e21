"""What is known of models beside their prices, what providers list, and each time that packages were asked anew."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from django.db import models
from django.db.models import Q

from apps.catalogue import choices
from apps.contracts.identifiers import uuid7
from apps.contracts.model_facts import ModelFacts, facts_over, named


class Entry(models.Model):
    """What is known of one model at its provider; no row: nothing is. ``known``, ``own``: ``ModelFacts`` as JSON,
    only what is known.

    known: from packages and the provider's own list, as it was last taken. sources: name of a fact or a capability in ``known`` -> who says
    so. own: what a person said, which wins. note: why, for those who read it later.
    """

    model = models.OneToOneField("providers.ProviderModel", on_delete=models.CASCADE, primary_key=True, related_name="entry")
    known = models.JSONField(default=dict, blank=True)
    sources = models.JSONField(default=dict, blank=True)
    own = models.JSONField(default=dict, blank=True)
    note = models.CharField(max_length=300, blank=True, default="")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["model_id"]

    def __str__(self) -> str:
        return str(self.model)

    @property
    def known_facts(self) -> ModelFacts:
        """What packages and the provider say."""
        return msgspec.convert(self.known, ModelFacts)

    @property
    def own_facts(self) -> ModelFacts:
        """What a person said."""
        return msgspec.convert(self.own, ModelFacts)

    @property
    def facts(self) -> ModelFacts:
        """What holds: as proxies resolve it, before a route's own word."""
        return facts_over(self.own_facts, self.known_facts)

    @property
    def all_sources(self) -> dict[str, str]:
        """Of each fact and capability that is known: who says so."""
        return {**self.sources, **dict.fromkeys(named(self.own_facts), choices.SOURCE_YOU)}


class Listing(models.Model):
    """The latest look at a provider's own list of models. read_at: when it was last read well, None: never.
    partial: it had more pages than were read, so that nothing is held to have vanished. problem: why the last look failed.
    """

    provider = models.OneToOneField("providers.Provider", on_delete=models.CASCADE, primary_key=True, related_name="listing")
    looked_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)
    partial = models.BooleanField(default=False)
    problem = models.CharField(max_length=300, blank=True, default="")

    def __str__(self) -> str:
        return f"{self.provider.name}, {self.looked_at:%Y-%m-%d %H:%M}"


class ListedModel(models.Model):
    """A model that a provider lists, or listed. facts: what the list says of it (``ModelFacts``). price: nano-dollars per million tokens by
    kind, empty where the list has none. missed: looks in a row that did not find it. gone_at: since when it is held to have vanished.
    told_ending: the end of service that people were told of."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.ForeignKey("providers.Provider", on_delete=models.CASCADE, related_name="listed_models")
    name = models.CharField(max_length=200)
    facts = models.JSONField(default=dict, blank=True)
    price = models.JSONField(default=dict, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    missed = models.PositiveSmallIntegerField(default=0)
    gone_at = models.DateTimeField(null=True, blank=True)
    told_ending = models.CharField(max_length=20, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "name"], name="listed_model_once"),
            models.CheckConstraint(condition=Q(gone_at=None) | Q(missed__gte=choices.MISSED_LOOKS), name="listed_model_gone_when_missed"),
        ]

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"


class PackagesTaken(models.Model):
    """One time that facts were taken from the installed packages for every model. changed: models of which something differs since."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    packages = models.CharField(max_length=200)
    changed = models.JSONField(default=list)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-at", "-id"]

    def __str__(self) -> str:
        return self.packages
