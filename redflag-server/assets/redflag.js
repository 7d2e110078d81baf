// Keyboard and comfort on top of pages that are complete without it. It fetches nothing and builds no markup from text.

const typing = (target) => target instanceof HTMLElement && target.matches("input, select, textarea, [contenteditable]");
const rows = () => [...document.querySelectorAll("tr[data-row]")];
const help = document.getElementById("help");

function step(by) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.findIndex((row) => row.classList.contains("current"));
  const next = all[at === -1 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
  all[at]?.classList.remove("current");
  next.classList.add("current");
  next.querySelector("a")?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const press = (selector) => document.querySelector(`tr.current ${selector}`)?.focus();

const keys = {
  "/": () => document.querySelector("input[type=search]")?.focus(),
  "?": () => help?.showModal(),
  j: () => step(1),
  k: () => step(-1),
  a: () => press("td.act button"),
  n: () => document.querySelector("a[rel=next]")?.click(),
  p: () => document.querySelector("a[rel=prev]")?.click(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && typing(event.target)) event.target.blur();
  const action = keys[event.key];
  if (!action || typing(event.target) || help?.open) return;
  event.preventDefault();
  action();
});

// Choosing a filter applies it; without this module the button does.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
  });
}

// A sign-in link brings its token behind the #, which is sent to nobody. Without this module the page takes it in a field.
function takeToken() {
  const link = document.getElementById("by-link");
  if (!link || !location.hash.startsWith("#token=")) return;
  link.elements.token.value = location.hash.slice("#token=".length);
  history.replaceState(null, "", location.pathname);
  document.getElementById("door").hidden = true;
  link.hidden = false;
}
takeToken();
window.addEventListener("hashchange", takeToken);

// Exact times in the reader's own zone beside the server's.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.valueOf())) time.title += ` (${at.toLocaleString()} here)`;
}

document.querySelector("[data-help]")?.removeAttribute("hidden");
document.querySelector("[data-help]")?.addEventListener("click", () => help?.showModal());
