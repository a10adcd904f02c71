"""Form, answer, picture. The browser speaks to Django alone."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from mammograms import oncopixel
from mammograms.forms import MammogramForm

BUSY = ("waiting", "analysing")


def upload(request):
    """Ask for an image and send it on."""
    form = MammogramForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        said = {name: str(value) for name, value in form.cleaned_data.items() if name != "image"}
        if form.cleaned_data["pixel_spacing_mm"] is None:
            del said["pixel_spacing_mm"]
        image = form.cleaned_data["image"]
        try:
            return redirect("answer", oncopixel.send(image.name, image.file, said))
        except oncopixel.Refused as exc:
            form.add_error("image", str(exc))
    return render(request, "mammograms/upload.html", {"form": form})


def answer(request, upload_id):
    """Show what came of an upload; the page asks again while there is no answer."""
    found = oncopixel.upload(upload_id)
    if found is None:
        raise Http404
    return render(
        request, "mammograms/answer.html", {"upload": found, "busy": found["state"] in BUSY}
    )


def picture(request, job_id, sop_instance_uid):
    """Pass on the picture of one image."""
    content = oncopixel.picture(job_id, sop_instance_uid)
    if content is None:
        raise Http404
    return HttpResponse(content, content_type="image/png")
