// Listens to the changes for all tabs of a browser; a shared worker, see live.js.
"use strict";

if (typeof EventSource === "undefined") throw new Error("No EventSource in a shared worker.");

const EVERYTHING = JSON.stringify({ study_instance_uid: null });
const AGAIN_MILLISECONDS = 10000;
// The server says something every 14 seconds. A line that was cut, or a lid that was closed, ends
// no connection: nothing is heard, and that is all.
const SILENT_MILLISECONDS = 45000;
const tabs = new Set();
let source = null;
let heard = 0;

function tell(what) {
  for (const tab of tabs) tab.postMessage(what);
}

function listen() {
  heard = Date.now();
  source = new EventSource("/api/v1/events");
  source.addEventListener("change", (event) => {
    heard = Date.now();
    tell(event.data);
  });
  source.addEventListener("still", () => (heard = Date.now()));
  source.onerror = (event) => {
    const refused = event.target.readyState === EventSource.CLOSED;
    if (event.target === source) tell(refused ? "refused" : "away");
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

setInterval(() => {
  if (source === null || Date.now() - heard < SILENT_MILLISECONDS) return;
  tell("away");
  source.close();
  listen();
}, SILENT_MILLISECONDS / 3);

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
