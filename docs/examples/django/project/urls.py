from django.http import JsonResponse
from django.urls import path


def index(request):
    return JsonResponse({"path": request.path, "method": request.method})


urlpatterns = [path("", index)]
