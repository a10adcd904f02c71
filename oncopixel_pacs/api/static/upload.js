// Drag and drop, breast and view per picture, and progress. Without it the page is a plain form.
"use strict";

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const input = document.getElementById("file");
const list = document.getElementById("files");
const chosen = document.getElementById("chosen");
const said = document.getElementById("said");
const progress = document.getElementById("progress");
const button = form.querySelector("button");
const common = form.querySelector(".common");
const PICTURE = /\.(png|jpe?g|tiff?)$/i;

function choice(name, label, options) {
  const holder = document.createElement("label");
  const select = document.createElement("select");
  select.dataset.name = name;
  for (const [value, text] of options) select.add(new Option(text, value));
  holder.append(`${label} `, select);
  return holder;
}

function show() {
  const files = [...input.files];
  chosen.textContent = files.length
    ? `${files.length} file${files.length === 1 ? "" : "s"} chosen`
    : "No file is chosen.";
  said.textContent = "";
  common.hidden = files.some((file) => PICTURE.test(file.name));
  list.replaceChildren(...files.map((file) => {
    const row = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = file.name;
    row.append(name);
    if (PICTURE.test(file.name)) {
      row.append(
        choice("laterality", "Breast", [["", "not said"], ["R", "right"], ["L", "left"]]),
        choice("view", "View", [["", "not said"], ["CC", "CC"], ["MLO", "MLO"]]),
      );
    }
    return row;
  }));
}

function content() {
  const data = new FormData();
  const rows = [...list.children];
  [...input.files].forEach((file, number) => {
    data.append("file", file);
    for (const name of ["laterality", "view"]) {
      const select = rows[number].querySelector(`[data-name=${name}]`);
      data.append(name, select ? select.value : "");
    }
  });
  for (const name of ["pixel_spacing_mm", "patient_id", "accession_number"]) {
    data.append(name, form.elements[name].value);
  }
  return data;
}

function end(sentence) {
  said.textContent = sentence;
  said.className = "alert bad";
  progress.hidden = true;
  button.disabled = false;
}

input.addEventListener("change", show);
for (const event of ["dragenter", "dragover"]) {
  drop.addEventListener(event, (moment) => {
    moment.preventDefault();
    drop.classList.add("over");
  });
}
for (const event of ["dragleave", "drop"]) {
  drop.addEventListener(event, (moment) => {
    moment.preventDefault();
    drop.classList.remove("over");
  });
}
drop.addEventListener("drop", (moment) => {
  input.files = moment.dataTransfer.files;
  show();
});

form.addEventListener("submit", (moment) => {
  moment.preventDefault();
  const request = new XMLHttpRequest();
  request.open("POST", "/api/v1/images");
  request.setRequestHeader("X-Requested-With", "upload");
  request.responseType = "json";
  request.upload.addEventListener("progress", (part) => {
    if (part.lengthComputable) progress.value = part.loaded / part.total;
    if (part.loaded === part.total) said.textContent = "The server looks at the files.";
  });
  request.addEventListener("load", () => {
    if (request.status === 202) location.assign(request.response.page);
    else end(request.response ? request.response.detail : "The server gave no answer.");
  });
  request.addEventListener("error", () => end("The server cannot be reached; try again."));
  progress.hidden = false;
  button.disabled = true;
  said.className = "";
  said.textContent = "The files are sent.";
  request.send(content());
});
