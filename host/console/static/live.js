// Shows runs as they happen: an event of the host makes the list load itself again.
"use strict";
(() => {
  const PAUSE_MS = 400;
  let source = null;
  let timer = null;
  let last = 0;

  const list = () => document.getElementById("list");
  const mark = (on) => {
    for (const one of document.querySelectorAll("[data-live]")) {
      one.classList.toggle("on", on);
      one.textContent = on ? "Live" : "Not connected";
    }
  };

  // At most once in a while, and always once after the last event.
  const changed = () => {
    if (timer) return;
    const wait = Math.max(0, PAUSE_MS - (Date.now() - last));
    timer = setTimeout(() => {
      timer = null;
      last = Date.now();
      const place = list();
      if (place && place.dataset.events) htmx.trigger(place, "runs-changed");
    }, wait);
  };

  const close = () => { if (source) source.close(); source = null; };
  const open = () => {
    const place = list();
    if (source || document.hidden || !place || !place.dataset.events) return;
    source = new EventSource(place.dataset.events);
    source.addEventListener("open", () => { mark(true); changed(); });
    source.addEventListener("run", changed);
    source.addEventListener("lost", changed);
    source.addEventListener("error", () => mark(false));
  };

  // Browsers open few connections to a host: a page that nobody looks at gives its own back.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  document.addEventListener("htmx:afterSettle", () => mark(Boolean(source && source.readyState === 1)));
  open();
})();
