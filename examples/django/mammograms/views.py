"""Form, answer, picture. The browser speaks to Django alone."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from mammograms import oncopixel
from mammograms.forms import MammogramForm

BUSY = ("waiting", "analysing")
LEFT_OUT = ("conflict", "skipped")


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
    try:
        found = oncopixel.upload(upload_id)
    except oncopixel.Away as exc:
        away = {"away": str(exc), "busy": True}
        return render(request, "mammograms/answer.html", away, status=503)
    if found is None:
        raise Http404
    shown = {
        "upload": found,
        "busy": found["state"] in BUSY,
        # Where none of it was taken there is no study that would say so.
        "left_out": [item for item in found["images"] if item["outcome"] in LEFT_OUT],
    }
    return render(request, "mammograms/answer.html", shown)


def picture(request, job_id, sop_instance_uid):
    """Pass on the picture of one image."""
    try:
        content = oncopixel.picture(job_id, sop_instance_uid)
    except oncopixel.Away as exc:
        return HttpResponse(str(exc), content_type="text/plain", status=503)
    if content is None:
        raise Http404
    return HttpResponse(content, content_type="image/png")
