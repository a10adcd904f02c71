// Changes reach every tab through one connection: a browser opens six to a server at most, and a
// page that listened for itself would keep one, so that the seventh tab would never load.
"use strict";

(() => {
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
})();
