"""Prices, discounts, GPU hours, re-pricings, limits, budgets and performance budgets for the gallery: few, many, and with odd names.

Written straight into the tables, as ``gallery_seed`` does: names and amounts that services refuse may still stand in a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

PER_DOLLAR = 10**9


def money_seed(organisation: Organisation, names: Sequence[str], *, approver: str) -> None:
    """One of each for every name, cut to what the columns take. The organisation has a provider and, for naming them, keys."""
    prices_seed(organisation, names, approver=approver)
    limits_seed(organisation, names)
    budgets_seed(organisation, names, approver=approver)
    performance_seed(organisation, names, owner=approver)


def prices_seed(organisation: Organisation, names: Sequence[str], *, approver: str) -> None:
    """Models with prices that were, are and will be; some without any; discounts, GPU hours and re-pricings."""
    from apps.prices.models import GpuPrice, Repricing, RepricingLine, UnitPrice
    from apps.providers.models import Discount, Price, Provider, ProviderModel

    now = timezone.now().replace(microsecond=0)
    providers = list(Provider.objects.filter(organisation=organisation).order_by("name")[:5])
    models, prices, discounts, hours, again, units = [], [], [], [], [], []
    for at, name in enumerate(names):
        provider = providers[at % len(providers)]
        model = ProviderModel(provider=provider, name=name[:200])
        models.append(model)
        if at % 7 != 5:
            prices.append(
                Price(
                    model=model, version=f"list-{at}", source="manual", input=150_000_000 * (1 + at % 40), output=600_000_000,
                    cache_read=75_000_000 if at % 3 else None, valid_from=now - timedelta(days=90), valid_to=now + timedelta(days=30),
                    tiers=[{"from_input_tokens": 200_000, "input": 300_000_000 * (1 + at % 40)}] if at % 4 == 1 else [],
                    off_peak=[{"from_minute": 990, "to_minute": 30, "discount": 5_000}] if at % 5 == 2 else [],
                )
            )  # fmt: skip
            prices.append(
                Price(
                    model=model, version=f"next-{at}", source="manual", input=7, output=999_999_999_999, valid_from=now + timedelta(days=30)
                )
            )
        discounts.append(
            Discount(
                organisation=organisation, provider=provider, name=name[:80], model=name[:200] if at % 2 else "", discount=1_250 + at,
                valid_from=now - timedelta(days=at), valid_to=now + timedelta(days=at % 9 - 3) if at % 3 else None, note=name[:300],
            )
        )  # fmt: skip
        hours.append(
            GpuPrice(
                organisation=organisation, name=name[:80], gpu=name[:80] if at % 2 else "NVIDIA H200", region=name[:80] if at % 3 else "",
                per_hour=2_490_000_000 + at, valid_from=now - timedelta(days=at), valid_to=None if at % 2 else now + timedelta(days=1),
            )
        )  # fmt: skip
        units.append(
            UnitPrice(
                organisation=organisation, provider=provider, name=name[:80], model=name[:200],
                unit=("image", "second", "web_search")[at % 3],
                quality="hd" if at % 6 == 0 else "", size="1024x1792" if at % 3 == 0 else "", per_thousand=40_000_000_000 + at,
                valid_from=now - timedelta(days=at), valid_to=None if at % 2 else now + timedelta(days=1),
            )
        )  # fmt: skip
        again.append(
            Repricing(
                organisation=organisation, provider=provider.name if at % 2 else "", model=name[:200] if at % 3 else "",
                starts_at=now - timedelta(days=at % 60 + 3), ends_at=now - timedelta(days=1), reason=f"the list was wrong: {name}"[:2000],
                actor=approver, state=("done", "pending", "withdrawn", "failed")[at % 4], detail="no such price" if at % 4 == 3 else "",
                requests=12_345 * at, kept=at, original_nano=at * 1_234_567_891, corrected_nano=at * 987_654_321, finished_at=now,
            )
        )  # fmt: skip
    ProviderModel.objects.bulk_create(models, batch_size=500)
    Price.objects.bulk_create(prices, batch_size=500)
    Discount.objects.bulk_create(discounts, batch_size=500)
    GpuPrice.objects.bulk_create(hours, batch_size=500)
    UnitPrice.objects.bulk_create(units, batch_size=500)
    Repricing.objects.bulk_create(again, batch_size=500)
    RepricingLine.objects.bulk_create(
        RepricingLine(
            repricing=again[0], day=(now - timedelta(days=2)).date(), simulated=organisation.simulated, provider=providers[0].name,
            model=name[:200], route=name[:120], key_id="", team=name[:60], service="", feature=name[:80], price_before=f"list-{at}",
            price_after=f"next-{at}", requests=at + 1, original_nano=at * 10**8 + 1, corrected_nano=at * 10**7,
        )
        for at, name in enumerate(names[:120])
    )  # fmt: skip


def limits_seed(organisation: Organisation, names: Sequence[str]) -> None:
    """A limit per name, of every kind, of models and of everything that may no longer exist."""
    from apps.budgets.limit_choices import KINDS
    from apps.budgets.models import Limit
    from apps.keys.models import VirtualKey

    key = VirtualKey.objects.filter(organisation=organisation).first()
    kinds = list(KINDS)
    limits = [
        Limit(
            organisation=organisation, name=name[:80], scope="key" if key and not at else "model",
            scope_id=str(key.pk) if key and not at else f"{name[:190]} {at}", kind=kinds[at % len(kinds)], amount=10 ** (at % 10) * 7,
        )
        for at, name in enumerate(dict.fromkeys(name[:80] for name in names))
    ]  # fmt: skip
    Limit.objects.bulk_create(limits, batch_size=500)


def budgets_seed(organisation: Organisation, names: Sequence[str], *, approver: str) -> None:
    """Budgets within, near, exhausted, over and overrun, with a window now; the first is overridden and was told of."""
    from apps.budgets.models import Budget, BudgetAlert, BudgetOverride, BudgetWindow

    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    windows = []
    scopes = ("tag", "feature", "model", "user")
    for at, name in enumerate(dict.fromkeys(name[:80] for name in names)):
        budget = Budget.objects.create(
            organisation=organisation, name=name, scope=scopes[at % 4], scope_ref=f"{name[:240]} {at}",
            kind=("hard", "soft", "throttle")[at % 3], actions="80: cheaper, 95: limited" if at % 3 == 2 else "", owner_email=approver,
            window="day", timezone="Asia/Kolkata" if at % 5 == 4 else "UTC", limit_nano=(at % 50) * 3 * PER_DOLLAR + 1,
        )  # fmt: skip
        spent = budget.limit_nano * (0, 30, 93, 100, 100)[at % 5] // 100
        windows.append(
            BudgetWindow(
                budget=budget, starts_at=midnight, ends_at=midnight + timedelta(days=1), limit_nano=budget.limit_nano,
                ceiling_nano=budget.limit_nano, spent_nano=spent, overrun_nano=PER_DOLLAR if at % 5 == 4 else 0,
            )
        )  # fmt: skip
    made = BudgetWindow.objects.bulk_create(windows)
    first = made[0]
    BudgetOverride.objects.create(
        budget=first.budget, amount_nano=25 * PER_DOLLAR, starts_at=now - timedelta(hours=2), expires_at=now + timedelta(hours=30),
        reason=f"launch of {names[0]}"[:500], approver=approver,
    )  # fmt: skip
    BudgetAlert.objects.bulk_create(
        BudgetAlert(
            window=first, kind=kind, share=share, critical=share > 90, value_nano=share * 10**7, limit_nano=first.limit_nano, told=told
        )
        for kind, share, told in (("actual", 50, "mailed"), ("forecast", 100, ""), ("pace", 150, "mail refused: no such host"))
    )


def performance_seed(organisation: Organisation, names: Sequence[str], *, owner: str) -> None:
    """Performance budgets of every metric, in every verdict, some that nobody looked at, each with its history."""
    from apps.budgets.models import PerformanceBudget, PerformanceVerdict
    from apps.budgets.performance_choices import METRICS, VERDICTS
    from apps.budgets.performance_rules import value_text

    now = timezone.now().replace(microsecond=0)
    metrics, states = list(METRICS), list(VERDICTS)
    rows, verdicts = [], []
    for at, name in enumerate(dict.fromkeys(name[:80] for name in names)):
        metric, state, bound = metrics[at % len(metrics)], states[at % len(states)], 1_500_000
        measured = None if metric == "gpu_hours" else {"ok": bound // 2, "warning": bound, "breached": bound * 3}.get(state)
        evidence = {
            "measured": measured, "measured_text": value_text(metric, measured), "bound": bound, "bound_text": value_text(metric, bound),
            "samples": at * 37, "needed": 100, "samples_of": METRICS[metric].calls, "how": METRICS[metric].how_model,
            "why": f"as measured of {name}", "starts_at": (now - timedelta(days=1)).isoformat(), "ends_at": now.isoformat(),
        }  # fmt: skip
        row = PerformanceBudget(
            organisation=organisation, name=name, scope="model", scope_id=f"{name[:190]} {at}", metric=metric, bound=bound, window="day",
            owner_email=owner, state=state, evidence=evidence, evaluated_at=None if at % 9 == 8 else now,
        )  # fmt: skip
        rows.append(row)
        verdicts += [
            PerformanceVerdict(
                budget=row, state=states[(at - back) % len(states)], at=now - timedelta(hours=3 * back),
                until=now - timedelta(hours=3 * back - 3) if back else None, evidence=evidence,
            )
            for back in range(4)
        ]  # fmt: skip
    PerformanceBudget.objects.bulk_create(rows, batch_size=500)
    PerformanceVerdict.objects.bulk_create(verdicts, batch_size=500)
