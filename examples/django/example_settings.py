"""Settings of the example: no database, no session."""

import os

ONCOPIXEL_URL = os.environ.get("ONCOPIXEL_URL", "http://127.0.0.1:8080")
ONCOPIXEL_TOKEN = os.environ.get("ONCOPIXEL_TOKEN", "")

DEBUG = False
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", os.urandom(32).hex())
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "mammograms.urls"
INSTALLED_APPS = ["mammograms"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
]
USE_TZ = True
