// Changes reach every tab through one connection, and a page says when they do not.
"use strict";

(() => {
  // A browser opens six connections to a server at most. A page that listened for itself would keep
  // one, so that the seventh tab would never load.
  let shared = typeof SharedWorker !== "undefined";

  // Stands in for the EventSource that htmx-sse makes.
  class SharedChanges extends EventTarget {
    constructor(url) {
      super();
      this.study = new URL(url, location.href).searchParams.get("study_instance_uid");
      this.readyState = EventSource.OPEN;
      const worker = new SharedWorker("/static/changes.js");
      this.port = worker.port;
      this.port.onmessage = ({ data }) => this.tell(data);
      worker.onerror = () => {
        // A browser that cannot share: this page listens for itself from now on.
        shared = false;
        this.close();
        this.onerror?.(new Event("error"));
      };
      this.listen = () => this.port.postMessage("listen");
      this.leave = () => this.port.postMessage("leave");
      addEventListener("pageshow", this.listen);
      addEventListener("pagehide", this.leave);
      this.listen();
    }

    tell(data) {
      if (data === "refused") {
        warn("You are signed out, or too many are here: reload this page.");
        return;
      }
      if (data === "away") {
        this.onerror?.(new Event("error"));
        return;
      }
      const changed = JSON.parse(data).study_instance_uid;
      if (changed === null || this.study === null || this.study === changed) {
        this.dispatchEvent(new MessageEvent("change", { data }));
      }
    }

    close() {
      removeEventListener("pageshow", this.listen);
      removeEventListener("pagehide", this.leave);
      this.leave();
      this.readyState = EventSource.CLOSED;
    }
  }

  htmx.createEventSource = (url) => (shared ? new SharedChanges(url) : new EventSource(url));

  // A page that is no longer followed must not look as if all were well.
  let followed = new Date();

  function warn(why) {
    const alert = document.getElementById("unfollowed") ?? document.createElement("p");
    alert.id = "unfollowed";
    alert.className = "alert bad";
    alert.setAttribute("role", "alert");
    const time = followed.toISOString().slice(11, 19);
    alert.textContent = `${why} What is shown is of ${time} UTC and does not change.`;
    document.getElementById("main").prepend(alert);
  }

  addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.requestConfig.verb !== "get") return;
    if (detail.successful) {
      followed = new Date();
      document.getElementById("unfollowed")?.remove();
    } else if (detail.xhr.status === 401) {
      warn("You are signed out: reload this page to sign in.");
    } else if (detail.xhr.status) {
      warn(`The server answered ${detail.xhr.status}.`);
    }
  });
  // Leaving a page ends its connections, too.
  let leaving = false;
  addEventListener("pagehide", () => (leaving = true));
  addEventListener("pageshow", () => (leaving = false));
  // Who signs out is not told so by a page that still asks, nor are its questions refused.
  addEventListener("submit", ({ target }) => {
    if (target.getAttribute("action") !== "/logout") return;
    leaving = true;
    for (const asking of document.querySelectorAll(".htmx-request")) {
      htmx.trigger(asking, "htmx:abort");
    }
  });
  addEventListener("htmx:beforeRequest", (event) => leaving && event.preventDefault());
  for (const silence of ["htmx:sseError", "htmx:sendError", "htmx:timeout"]) {
    addEventListener(silence, () => leaving || warn("The server gives no answer."));
  }
})();
