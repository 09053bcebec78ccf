"""A Django program in one file and what its test clients see: models in SQLite, migrations, forms,
templates, sessions, users, and an asynchronous view."""

import asyncio
import sys

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a test's", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True, TIME_ZONE="UTC",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1] + "/db.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
django.setup()

from django import forms  # noqa: E402, after setup, as Django wants it
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.test import AsyncClient, Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.urls import path, reverse  # noqa: E402


class Book(models.Model):
    title = models.CharField(max_length=40)
    pages = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=6, decimal_places=2)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="books")

    class Meta:
        app_label = "shelf"


class BookForm(forms.ModelForm):
    class Meta:
        model = Book
        fields = ["title", "pages", "price"]


def index(request):
    page = engines["django"].from_string(
        "<ul>{% for b in books %}<li>{{ b.title }}: {{ b.price|floatformat:1 }}</li>"
        "{% empty %}<li>none</li>{% endfor %}</ul>{{ user.username|default:'nobody' }}")
    return HttpResponse(page.render({"books": Book.objects.order_by("-price"), "user": request.user},
                                    request))


@login_required(login_url="/login")
def add(request):
    form = BookForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    form.instance.owner = request.user
    book = form.save()
    return JsonResponse({"id": book.pk, "title": book.title}, status=201)


async def slow(request):
    await asyncio.sleep(0.001)
    return JsonResponse({"path": request.path, "q": request.GET.getlist("q")})


def broken(request):
    raise RuntimeError("meant")


urlpatterns = [path("", index, name="index"), path("add", add), path("slow", slow, name="slow"),
               path("broken", broken)]


def show(what, response):
    print(what, response.status_code, sorted(response.items()), response.content, sep="\n  ")


setup_test_environment()
call_command("migrate", verbosity=0)
with connection.schema_editor() as editor:
    editor.create_model(Book)
ada = User.objects.create_user("ada", "ada@example.org", "secret")
client = Client(raise_request_exception=False)
show("index", client.get("/"))
show("not logged in", client.post("/add", {"title": "x"}))
print("login", client.login(username="ada", password="wrong"),
      client.login(username="ada", password="secret"))
for title, pages, price in [("Faust <1>", 130, "7.50"), ("Emma", 400, "12.25"), ("x" * 50, "many", "")]:
    show("add", client.post("/add", {"title": title, "pages": pages, "price": price}))
show("index", client.get("/"))
show("asynchronous view", client.get(reverse("slow"), {"q": ["a", "ä"]}))
show("broken", client.get("/broken"))
show("missing", client.get("/missing"))
print(Book.objects.filter(owner__username="ada", pages__gt=100)
      .aggregate(models.Sum("pages"), models.Avg("price")))
try:
    with transaction.atomic():
        Group.objects.create(name="readers")
        raise RuntimeError("back")
except RuntimeError:
    print("groups", Group.objects.count())
print(str(Book.objects.exclude(title__contains="a").query))


async def asynchronous():
    again = AsyncClient()
    show("from a loop", await again.get("/slow"))
    show("a view with a database, from a loop", await again.get("/"))


asyncio.run(asynchronous())
connection.close()
