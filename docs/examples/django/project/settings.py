import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "for trying it out")
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "project.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = []
USE_TZ = True
