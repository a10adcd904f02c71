"""Forwards new mammograms of this Orthanc to OncoPixel PACS; runs inside Orthanc's Python plugin.

So it does the notes that reject some, and selections of key objects, which OncoPixel only keeps.

It walks Orthanc's own log of changes, so nothing is missed while OncoPixel is down or while
Orthanc restarts: the place it has come to, and what was refused, lie in a small file beside
Orthanc's index.
An image may be sent twice after a crash, which OncoPixel recognises.

There are no loops: results with pixels and reports are of other SOP classes, what came from
OncoPixel is left alone, and no selection of key objects makes it read a study again.

Section ``OncoPixel`` of Orthanc's configuration:

``Modality``      its name in ``DicomModalities`` (default ``oncopixel``)
``Url``           its pages as a browser reaches them, for the button on a study; may be absent
``ViewerUrl``     OHIF as a browser reaches it, for a second button; may be absent
``RetrySeconds``  wait before what failed is tried again (default 10)

``GET /oncopixel/state`` tells how far it has come.
"""

import json
import os
import threading

import orthanc

FORWARDED = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray Image, For Presentation
        "1.2.840.10008.5.1.4.1.1.1.2.1",  # For Processing
        "1.2.840.10008.5.1.4.1.1.13.1.3",  # Breast Tomosynthesis Image
        # Key Object Selection Document: a rejection note takes images back.
        "1.2.840.10008.5.1.4.1.1.88.59",
    }
)
CHANGES_AT_ONCE = 200
JOB_POLL_SECONDS = 0.1
WAKING = frozenset({orthanc.ChangeType.NEW_INSTANCE, orthanc.ChangeType.STABLE_STUDY})

BUTTONS = """
$('#study').live('pagebeforeshow', function() {
  $('.oncopixel').remove();
  $.get('../studies/' + $.mobile.pageData.uuid, function(study) {
    const uid = study.MainDicomTags.StudyInstanceUID;
    LINKS.forEach(function(link) {
      $('#study .ui-listview:first').parent().prepend(
        $('<a class="oncopixel" target="_blank">').text(link.text)
          .attr('href', link.url.replace('{study}', uid)).buttonMarkup());
    });
  });
});
"""


class Forwarder:
    """Follows the changes and sends; everything but `wake` and `state` runs in its own thread."""

    def __init__(self, configuration):
        section = configuration.get("OncoPixel", {})
        self.modality = section.get("Modality", "oncopixel")
        self.retry_seconds = section.get("RetrySeconds", 10)
        self.path = os.path.join(configuration["IndexDirectory"], "oncopixel-forward.json")
        self.position, self.refused = None, set()
        self._awake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._follow, name="oncopixel", daemon=True)

    def start(self):
        """Go on where it was; what was here before the first start is not new."""
        # Not before: while it starts, Orthanc answers no question.
        self.position, self.refused = self._remembered()
        self._remember()
        self._thread.start()

    def stop(self):
        """End after what is being sent."""
        self._ending = True
        self._awake.set()
        self._thread.join(30)

    def wake(self):
        """Look at once whether there is something to send."""
        self._awake.set()

    def state(self):
        """Tell how far it has come, and which images were refused."""
        last = get("/changes?last")["Last"]
        return {"position": self.position, "last": last, "refused": sorted(self.refused)}

    def _remembered(self):
        if os.path.exists(self.path):
            with open(self.path) as file:
                known = json.load(file)
            return known["position"], set(known["refused"])
        return get("/changes?last")["Last"], set()

    def _remember(self):
        with open(self.path + ".new", "w") as file:
            json.dump({"position": self.position, "refused": sorted(self.refused)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path + ".new", self.path)

    def _follow(self):
        while not self._ending:
            try:
                while self._next_changes():
                    pass
                self._refused_again()
            except Exception as exc:  # the thread must go on whatever Orthanc answers
                orthanc.LogWarning(f"OncoPixel: nothing is forwarded for now: {exc}")
            self._awake.wait(self.retry_seconds)
            self._awake.clear()

    def _next_changes(self):
        """Send what the next changes brought; False when there is no further one."""
        found = get(f"/changes?since={self.position}&limit={CHANGES_AT_ONCE}")
        new = [item["ID"] for item in found["Changes"] if item["ChangeType"] == "NewInstance"]
        wanted = [instance for instance in new if self._is_wanted(instance)]
        if wanted and not self._sent(wanted):
            # Not the peer, so some of the images: the others must not wait for them.
            self.refused.update(one for one in wanted if not self._sent([one]))
        if found["Last"] != self.position or wanted:
            self.position = found["Last"]
            self._remember()
        return not found["Done"] and not self._ending

    def _refused_again(self):
        taken = {one for one in self.refused if not self._is_wanted(one) or self._sent([one])}
        if taken:
            self.refused -= taken
            self._remember()

    def _is_wanted(self, instance):
        # Deleted meanwhile: both are empty.
        if text(f"/instances/{instance}/metadata/SopClassUid") not in FORWARDED:
            return False
        return text(f"/instances/{instance}/metadata/RemoteAET") != self._ae_title()

    def _ae_title(self):
        return get(f"/modalities/{self.modality}/configuration")["AET"]

    def _sent(self, instances):
        """Send in one association; False when an image was refused, raises when nobody is there."""
        body = {"Resources": instances, "Asynchronous": True}
        job = json.loads(post(f"/modalities/{self.modality}/store", body))["ID"]
        while (state := get("/jobs/" + job))["State"] in ("Pending", "Running", "Retry"):
            threading.Event().wait(JOB_POLL_SECONDS)
        if state["State"] == "Success":
            return True
        post(f"/modalities/{self.modality}/echo", {})
        orthanc.LogWarning(f"OncoPixel refused: {state.get('ErrorDetails', '')[:200]}")
        return False


def get(uri):
    """Ask this Orthanc's REST API."""
    return json.loads(orthanc.RestApiGet(uri))


def post(uri, body):
    """Tell this Orthanc's REST API."""
    return orthanc.RestApiPost(uri, json.dumps(body))


def text(uri):
    """Read what is there as text; empty where nothing is."""
    try:
        return orthanc.RestApiGet(uri).decode()
    except orthanc.OrthancException:
        return ""


def links(section):
    """Make the buttons on the page of a study in Orthanc Explorer."""
    found = []
    if section.get("Url"):
        url = section["Url"].rstrip("/") + "/studies/{study}"
        found.append({"text": "OncoPixel: state and results", "url": url})
    if section.get("ViewerUrl"):
        url = section["ViewerUrl"].rstrip("/") + "/viewer?StudyInstanceUIDs={study}"
        found.append({"text": "OHIF: images and results", "url": url})
    return found


def answer_state(output, uri, **request):
    """Answer ``GET /oncopixel/state``."""
    output.AnswerBuffer(json.dumps(forwarder.state()), "application/json")


def on_change(change_type, level, resource):
    """Take what Orthanc tells."""
    if change_type == orthanc.ChangeType.ORTHANC_STARTED:
        forwarder.start()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        forwarder.stop()
    elif change_type in WAKING:
        forwarder.wake()


settings = json.loads(orthanc.GetConfiguration())
forwarder = Forwarder(settings)
orthanc.RegisterOnChangeCallback(on_change)
orthanc.RegisterRestCallback("/oncopixel/state", answer_state)
orthanc.ExtendOrthancExplorer(
    BUTTONS.replace("LINKS", json.dumps(links(settings.get("OncoPixel", {}))))
)
