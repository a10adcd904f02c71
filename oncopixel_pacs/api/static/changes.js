// Listens to the changes for all tabs of a browser; a shared worker, see live.js.
"use strict";

if (typeof EventSource === "undefined") throw new Error("No EventSource in a shared worker.");

const EVERYTHING = JSON.stringify({ study_instance_uid: null });
const AGAIN_MILLISECONDS = 10000;
const tabs = new Set();
let source = null;

function listen() {
  source = new EventSource("/api/v1/events");
  source.addEventListener("change", (event) => {
    for (const tab of tabs) tab.postMessage(event.data);
  });
  source.onerror = (event) => {
    if (event.target === source) for (const tab of tabs) tab.postMessage("away");
    // Refused, as after signing out; what was only lost is opened again by the browser.
    if (event.target.readyState === EventSource.CLOSED && event.target === source) {
      setTimeout(() => event.target === source && (tabs.size ? listen() : rest()), AGAIN_MILLISECONDS);
    }
  };
}

function rest() {
  source?.close();
  source = null;
}

onconnect = ({ ports: [tab] }) => {
  tab.onmessage = ({ data }) => {
    if (data === "leave") {
      tabs.delete(tab);
      if (!tabs.size) rest();
      return;
    }
    if (!tabs.has(tab)) {
      tabs.add(tab);
      if (source === null) listen();
      // What happened while its page was made is not told again.
      else tab.postMessage(EVERYTHING);
    }
  };
};
