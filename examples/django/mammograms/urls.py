"""Addresses of the three views."""

from django.urls import path

from mammograms import views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("answers/<slug:upload_id>/", views.answer, name="answer"),
    path("pictures/<slug:job_id>/<str:sop_instance_uid>.png", views.picture, name="picture"),
]
