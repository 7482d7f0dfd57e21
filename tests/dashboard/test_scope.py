"""Which numbers a page shows: real or simulated, switched by the bar, remembered, never mixed."""

from __future__ import annotations

from django.test import Client

from apps.accounts.models import Membership, Organisation, User


def chosen(client: Client, url: str) -> tuple[str, str]:
    response = client.get(url)
    assert response.status_code == 200
    choice = response.context["choice"]
    return choice.organisation.slug, choice.traffic


def test_the_scope_switches_between_real_and_simulated(
    client: Client, person: User, organisation: Organisation, other: Organisation
) -> None:
    Membership.objects.create(user=person, organisation=other, role="viewer")
    client.force_login(person)
    assert chosen(client, "/") == (organisation.slug, "simulated")
    assert chosen(client, "/?scope=real") == (other.slug, "real")
    assert chosen(client, "/") == (other.slug, "real")  # remembered
    assert chosen(client, "/?scope=simulated") == (organisation.slug, "simulated")
    assert chosen(client, f"/?org={other.slug}&scope=simulated") == (other.slug, "simulated")
    assert chosen(client, f"/?org={other.slug}&scope=real") == (other.slug, "real")
    assert chosen(client, "/?scope=neither") == (other.slug, "real")


def test_a_simulated_organisation_has_nothing_real(client: Client, person: User, organisation: Organisation) -> None:
    client.force_login(person)
    assert chosen(client, "/?scope=real") == (organisation.slug, "simulated")
    assert chosen(client, f"/?org={organisation.slug}&scope=real") == (organisation.slug, "simulated")


def test_the_bar_says_which_and_switches(client: Client, person: User, organisation: Organisation) -> None:
    client.force_login(person)
    text = client.get("/").content.decode()
    assert 'aria-label="Scope: Demo, simulated traffic"' in text
    assert "?scope=real" in text
