"""Addresses of the daily cost review and of the weekly e-mail."""

from django.urls import path

from apps.budgets import review_views, weekly_views

app_name = "reviews"
urlpatterns = [
    path("costs/", review_views.DayView.as_view(), name="day"),
    path("costs/weekly/", weekly_views.WeeklyView.as_view(), name="weekly"),
    path("costs/weekly/preview/", weekly_views.PreviewView.as_view(), name="weekly_preview"),
    path("costs/weekly/send/", weekly_views.SendAgainView.as_view(), name="weekly_send"),
]
