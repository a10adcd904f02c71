// The views of a study: zoom, move, window, overlay, and the list of findings that jumps to each.
"use strict";

const LEAST = 1 / 40;
const WAIT_MS = 250;

class Pane {
  constructor(figure) {
    this.figure = figure;
    this.sheet = figure.querySelector(".sheet");
    this.image = figure.querySelector(".pixels");
    const [, , width, height] = this.sheet.getAttribute("viewBox").split(" ").map(Number);
    this.whole = { x: 0, y: 0, width, height };
    this.box = { ...this.whole };
    this.own = { centre: Number(figure.dataset.centre), width: Number(figure.dataset.width) };
    this.window = { ...this.own };
    this.shown = { ...this.own };
    this.image.addEventListener("load", () => {
      this.image.style.filter = "";
      this.shown = this.asked || { ...this.own };
      if (this.changed(this.shown)) this.preview();
    });
  }

  changed(window) {
    return window.centre !== this.window.centre || window.width !== this.window.width;
  }

  // Screen to image: of the sheet, whatever its letterbox.
  place(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(this.sheet.getScreenCTM().inverse());
  }

  look(box) {
    const width = Math.min(Math.max(box.width, this.whole.width * LEAST), this.whole.width);
    const height = width * this.whole.height / this.whole.width;
    const within = (value, size, all) => Math.min(Math.max(value, -size / 2), all - size / 2);
    this.box = {
      x: width === this.whole.width ? 0 : within(box.x, width, this.whole.width),
      y: width === this.whole.width ? 0 : within(box.y, height, this.whole.height),
      width,
      height,
    };
    const { x, y } = this.box;
    this.sheet.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    this.load();
  }

  zoom(factor, point) {
    const { x, y, width, height } = this.box;
    const at = point || { x: x + width / 2, y: y + height / 2 };
    const next = Math.min(width / factor, this.whole.width);
    const share = next / width;
    this.look({ x: at.x - (at.x - x) * share, y: at.y - (at.y - y) * share, width: next });
  }

  move(x, y) {
    this.look({ ...this.box, x: this.box.x + x, y: this.box.y + y });
  }

  jump(mark) {
    const bounds = mark.getBBox();
    const turned = mark.parentNode.parentNode.transform.baseVal.consolidate();
    const centre = new DOMPoint(bounds.x + bounds.width / 2, bounds.y + bounds.height / 2);
    const at = turned ? centre.matrixTransform(turned.matrix) : centre;
    const size = Math.max(bounds.width, bounds.height) * 4;
    const width = Math.max(size, size * this.whole.width / this.whole.height);
    const height = width * this.whole.height / this.whole.width;
    this.look({ x: at.x - width / 2, y: at.y - height / 2, width });
  }

  setWindow(centre, width) {
    this.window = { centre, width: Math.max(width, 1) };
    this.preview();
    this.load();
  }

  // What the new window would do to the 8 bits that are here, until the server's picture comes.
  preview() {
    const gain = this.shown.width / this.window.width;
    const lower = this.window.centre - this.window.width / 2;
    const shift = (this.shown.centre - this.shown.width / 2 - lower) / this.window.width;
    this.image.style.filter = `contrast(${gain}) brightness(${Math.max(1 + shift, 0.05)})`;
  }

  load() {
    if (!this.figure.dataset.picture) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const query = new URLSearchParams();
      const magnified = this.whole.width / this.box.width;
      if (magnified < 2) query.set("viewport", "1400,1400");
      if (this.changed(this.own)) {
        const { centre, width } = this.window;
        query.set("window", `${centre.toFixed(1)},${width.toFixed(1)},linear`);
      }
      const address = `${this.figure.dataset.picture}?${query}`;
      if (this.image.getAttribute("href") !== address) {
        this.asked = { ...this.window };
        this.image.setAttribute("href", address);
      }
    }, WAIT_MS);
  }

  reset() {
    this.window = { ...this.own };
    this.look(this.whole);
  }
}

class Views {
  constructor(section) {
    this.section = section;
    this.panes = [...section.querySelectorAll(".pane")].map((figure) => new Pane(figure));
    this.find = (name) => section.querySelector(name);
    if (!this.panes.length) return;
    this.active = this.panes[0];
    this.panes.forEach((pane) => this.listen(pane));
    this.tools();
    this.show();
  }

  get drags() {
    return this.find("[name=drag]:checked").value;
  }

  activate(pane) {
    this.active = pane;
    this.show();
  }

  show() {
    this.find(".window-centre").value = Math.round(this.active.window.centre);
    this.find(".window-width").value = Math.round(this.active.window.width);
  }

  // One window for all: the views of a study are compared with each other.
  window(centre, width) {
    this.panes.forEach((pane) => pane.setWindow(centre, width));
    this.show();
  }

  overlay(on) {
    this.find(".overlay-on").checked = on;
    this.section.classList.toggle("bare", !on);
  }

  tools() {
    this.find(".overlay-on").addEventListener("change", (event) => this.overlay(event.target.checked));
    const opacity = this.find(".overlay-opacity");
    const fade = () => this.section.style.setProperty("--overlay", opacity.value / 100);
    opacity.addEventListener("input", fade);
    fade();
    for (const name of ["centre", "width"]) {
      this.find(`.window-${name}`).addEventListener("change", () => {
        const [centre, width] = ["centre", "width"].map((item) => Number(this.find(`.window-${item}`).value));
        if (width >= 1) this.window(centre, width);
      });
    }
    this.find(".zoom-in").addEventListener("click", () => this.panes.forEach((pane) => pane.zoom(1.5)));
    this.find(".zoom-out").addEventListener("click", () => this.panes.forEach((pane) => pane.zoom(1 / 1.5)));
    this.find(".reset").addEventListener("click", () => this.reset());
    for (const button of this.section.querySelectorAll(".lesion")) {
      button.addEventListener("click", () => this.jump(button));
    }
  }

  reset() {
    this.panes.forEach((pane) => pane.reset());
    this.section.querySelectorAll(".chosen").forEach((mark) => mark.classList.remove("chosen"));
    this.overlay(true);
    this.show();
  }

  jump(button) {
    const pane = this.panes.find((item) => item.figure.dataset.sop === button.dataset.sop);
    const mark = pane.figure.querySelector(`.mark[data-number="${button.dataset.number}"]`);
    this.section.querySelectorAll(".chosen").forEach((item) => item.classList.remove("chosen"));
    mark.classList.add("chosen");
    button.classList.add("chosen");
    this.overlay(true);
    this.activate(pane);
    pane.jump(mark);
    pane.figure.scrollIntoView({ block: "nearest" });
  }

  large(pane) {
    const large = pane.figure.classList.toggle("large");
    this.section.classList.toggle("single", large);
    for (const other of this.panes) if (other !== pane) other.figure.classList.remove("large");
  }

  listen(pane) {
    const { sheet } = pane;
    const held = new Map();
    let apart = 0;
    sheet.addEventListener("focus", () => this.activate(pane));
    sheet.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      sheet.focus({ preventScroll: true });
      sheet.setPointerCapture(event.pointerId);
      held.set(event.pointerId, event);
      apart = 0;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      sheet.addEventListener(end, (event) => {
        held.delete(event.pointerId);
        apart = 0;
      });
    }
    sheet.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      held.set(event.pointerId, event);
      if (held.size === 2) {
        const [one, other] = [...held.values()];
        const distance = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        if (apart) pane.zoom(distance / apart, pane.place(event));
        apart = distance;
      } else if (this.drags === "window" || event.shiftKey) {
        const step = pane.own.width / 400;
        const { centre, width } = pane.window;
        this.window(
          centre + (event.clientY - before.clientY) * step,
          width + (event.clientX - before.clientX) * step,
        );
      } else {
        const from = pane.place(before);
        const to = pane.place(event);
        pane.move(from.x - to.x, from.y - to.y);
      }
    });
    // The wheel scrolls the page, until a view has been chosen.
    sheet.addEventListener("wheel", (event) => {
      if (document.activeElement !== sheet && !event.ctrlKey) return;
      event.preventDefault();
      pane.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, pane.place(event));
    }, { passive: false });
    sheet.addEventListener("dblclick", () => this.large(pane));
    sheet.addEventListener("keydown", (event) => this.key(pane, event));
  }

  key(pane, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = pane.box.width / 10;
    const { centre, width } = pane.window;
    const bit = pane.own.width / 20;
    const doing = {
      "+": () => pane.zoom(1.25),
      "=": () => pane.zoom(1.25),
      "-": () => pane.zoom(1 / 1.25),
      ArrowLeft: () => pane.move(-step, 0),
      ArrowRight: () => pane.move(step, 0),
      ArrowUp: () => pane.move(0, -step),
      ArrowDown: () => pane.move(0, step),
      w: () => this.window(centre, width + bit),
      n: () => this.window(centre, width - bit),
      b: () => this.window(centre - bit, width),
      d: () => this.window(centre + bit, width),
      o: () => this.overlay(!this.find(".overlay-on").checked),
      0: () => this.reset(),
      Enter: () => this.large(pane),
    }[event.key];
    if (!doing) return;
    event.preventDefault();
    doing();
  }
}

function hang() {
  const section = document.getElementById("viewer");
  if (section && !section.dataset.ready) {
    section.dataset.ready = "yes";
    new Views(section);
  }
}

document.addEventListener("DOMContentLoaded", hang);
document.addEventListener("htmx:afterSettle", () => {
  hang();
  // Progress is renewed often; the views only when there are others, or another result.
  const [state, viewer] = ["state", "viewer"].map((id) => document.getElementById(id));
  const other = ["views", "result"].some((name) => state.dataset[name] !== viewer.dataset[name]);
  if (other) {
    htmx.ajax("GET", location.pathname, { target: "#viewer", select: "#viewer", swap: "outerHTML" });
  }
});
