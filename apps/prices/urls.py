"""Addresses of the price book."""

from django.urls import path

from apps.prices import views, writes

app_name = "prices"

urlpatterns = [
    path("prices/", views.ListView.as_view(), name="list"),
    path("prices/models/<uuid:model_id>/", views.ModelView.as_view(), name="model"),
    path("prices/discounts/", views.DiscountsView.as_view(), name="discounts"),
    path("prices/discounts/new/", writes.DiscountAdd.as_view(), name="discount_add"),
    path("prices/discounts/<uuid:discount_id>/edit/", writes.DiscountEdit.as_view(), name="discount"),
    path("prices/discounts/<uuid:discount_id>/remove/", writes.DiscountRemove.as_view(), name="discount_remove"),
    path("prices/units/", views.UnitsView.as_view(), name="units"),
    path("prices/units/new/", writes.UnitPriceAdd.as_view(), name="unit_add"),
    path("prices/units/<uuid:unit_price_id>/edit/", writes.UnitPriceEdit.as_view(), name="unit"),
    path("prices/units/<uuid:unit_price_id>/remove/", writes.UnitPriceRemove.as_view(), name="unit_remove"),
    path("prices/gpus/", views.GpusView.as_view(), name="gpus"),
    path("prices/gpus/new/", writes.GpuPriceAdd.as_view(), name="gpu_add"),
    path("prices/gpus/<uuid:price_id>/edit/", writes.GpuPriceEdit.as_view(), name="gpu"),
    path("prices/gpus/<uuid:price_id>/remove/", writes.GpuPriceRemove.as_view(), name="gpu_remove"),
    path("prices/base/", views.BaseView.as_view(), name="base"),
    path("prices/base/take/", writes.BaseTake.as_view(), name="base_take"),
    path("prices/repricing/", views.RepricingsView.as_view(), name="repricings"),
    path("prices/repricing/new/", writes.RepricingAdd.as_view(), name="repricing_add"),
    path("prices/repricing/<uuid:repricing_id>/", views.RepricingView.as_view(), name="repricing"),
    path("prices/repricing/<uuid:repricing_id>/withdraw/", writes.RepricingWithdraw.as_view(), name="repricing_withdraw"),
]
