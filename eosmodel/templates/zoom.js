"use strict";
// Any picture opens in one dialog: wheel, pinch, + and − zoom, a drag and the arrows move, 0 fits, Escape closes.
const dialog = document.querySelector("dialog");
const stage = dialog.querySelector(".stage");
let image, width, height;
const fingers = new Map();
let view = { x: 0, y: 0, scale: 1 }, fitted = 1;

function show(x, y, scale) {
  view = { x, y, scale };
  image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
}
function fit() {
  fitted = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  show((stage.clientWidth - fitted * width) / 2, (stage.clientHeight - fitted * height) / 2, fitted);
}
// The point (x, y) of the stage stays where it is.
function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  const scale = Math.min(Math.max(view.scale * factor, fitted / 2), 4);
  show(x - (x - view.x) * scale / view.scale, y - (y - view.y) * scale / view.scale, scale);
}
function move(dx, dy) { show(view.x + dx, view.y + dy, view.scale); }

for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    image = button.querySelector("img").cloneNode();
    // Its own pixels, whatever its size on the page.
    ({ naturalWidth: width, naturalHeight: height } = button.firstChild);
    Object.assign(image, { width, height });
    stage.replaceChildren(image);
    dialog.querySelector("p").textContent = button.parentElement.querySelector("figcaption").textContent;
    dialog.showModal();
    stage.focus();
    fit();
  });
}
const actions = {
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit,
  ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
};
dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});
for (const [name, act] of Object.entries({ in: actions["+"], out: actions["-"], fit, close: () => dialog.close() })) {
  dialog.querySelector(`[data-act=${name}]`).addEventListener("click", act);
}
addEventListener("resize", () => { if (dialog.open) fit(); });
stage.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const corner = stage.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - corner.left, event.clientY - corner.top);
}, { passive: false });
stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, event);
});
stage.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  fingers.set(event.pointerId, event);
  const other = [...fingers.values()].find((finger) => finger !== event);
  if (!other) return move(event.clientX - before.clientX, event.clientY - before.clientY);
  const apart = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
  const corner = stage.getBoundingClientRect();
  zoom(apart(event) / Math.max(apart(before), 1), (event.clientX + other.clientX) / 2 - corner.left, (event.clientY + other.clientY) / 2 - corner.top);
  move((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
});
for (const kind of ["pointerup", "pointercancel"]) {
  stage.addEventListener(kind, (event) => fingers.delete(event.pointerId));
}
