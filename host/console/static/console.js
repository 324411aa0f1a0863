// What all pages do: times in the reader's zone, copying, asking before what cannot be
// taken back, keys. Everything else works without it.
"use strict";
(() => {
  const day = new Intl.DateTimeFormat(undefined, {year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short"});
  const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit"});
  const distance = new Intl.RelativeTimeFormat(undefined, {numeric: "auto", style: "short"});
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const relative = (at) => {
    const seconds = Math.round((at - Date.now()) / 1000);
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || ["second", 1];
    return distance.format(Math.trunc(seconds / size), unit);
  };

  const showTimes = (root) => {
    for (const time of root.querySelectorAll("time[data-show]")) {
      const at = new Date(time.dateTime);
      const how = time.dataset.show;
      const text = how === "relative" ? relative(at) : how === "short" ? clock.format(at) : day.format(at);
      if (time.textContent !== text) time.textContent = text;
    }
  };

  const notice = (text) => {
    const place = document.getElementById("notices");
    if (!place) return;
    const line = document.createElement("p");
    line.textContent = text;
    place.append(line);
    setTimeout(() => line.remove(), 3000);
  };

  const copy = async (button) => {
    const from = document.querySelector(button.dataset.copy);
    const text = "value" in from ? from.value : from.textContent;
    try {
      await navigator.clipboard.writeText(text);
      notice("Copied");
    } catch {
      // No clipboard without encryption: select it, so that the keyboard copies it.
      if (from.select) from.select(); else getSelection().selectAllChildren(from);
      notice("Selected: copy it with the keyboard");
    }
  };

  // Asks once; `then` is called when the answer is yes.
  const ask = (question, word, then) => {
    const dialog = document.createElement("dialog");
    const text = document.createElement("p");
    text.textContent = question;
    const actions = document.createElement("div");
    actions.className = "actions";
    const no = document.createElement("button");
    no.textContent = "Cancel";
    const yes = document.createElement("button");
    yes.textContent = word;
    yes.className = "primary";
    actions.append(no, yes);
    dialog.append(text, actions);
    dialog.setAttribute("aria-label", question);
    document.body.append(dialog);
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => { dialog.close(); then(); });
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
    yes.focus();
  };

  // Buttons that need something first: a name typed, a row chosen.
  const showNeeds = () => {
    for (const button of document.querySelectorAll("button[data-needs]")) {
      const needed = document.querySelector(button.dataset.needs);
      const value = button.dataset.value;
      button.disabled = value === undefined ? !needed : !needed || needed.value.trim() !== value;
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy) copy(button);
    if (button.dataset.ask && !button.dataset.asked) {
      event.preventDefault();
      ask(button.dataset.ask, button.textContent.trim(), () => {
        button.dataset.asked = "yes";
        button.click();
        delete button.dataset.asked;
      });
    }
  });

  document.addEventListener("input", (event) => {
    showNeeds();
    // Typing into one of two ways to say something chooses it.
    const way = event.target.dataset && event.target.dataset.picks;
    if (!way) return;
    const radio = event.target.closest("form, fieldset").querySelector(`input[type=radio][value="${way}"]`);
    if (radio) radio.checked = true;
  }, true);
  document.addEventListener("change", showNeeds);

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select, .editor-place");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (target) { event.preventDefault(); target.focus(); }
  });

  // Instants are typed in the reader's zone and sent in UTC.
  for (const field of document.querySelectorAll("input[data-instant]")) {
    const sent = field.closest("form").querySelector(`input[name="${field.dataset.instant}"]`);
    const pad = (number) => String(number).padStart(2, "0");
    if (sent.value) {
      const at = new Date(sent.value);
      field.value = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
    }
    // Before htmx reads the form.
    field.addEventListener("change", () => { sent.value = field.value ? new Date(field.value).toISOString() : ""; });
  }

  // A link to send to others needs the address under which the reader sees the host.
  for (const field of document.querySelectorAll("input[data-absolute]")) field.value = location.origin + field.value;

  // On a phone navigation and tabs are wider than the screen: the current entry is in sight.
  for (const strip of document.querySelectorAll(".bar nav, .tabs")) {
    const current = strip.querySelector("[aria-current]");
    if (!current) continue;
    const [outer, inner] = [strip.getBoundingClientRect(), current.getBoundingClientRect()];
    strip.scrollLeft += inner.left + inner.width / 2 - (outer.left + outer.width / 2);
  }

  // htmx says nothing when there is no answer.
  for (const event of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(event, () => notice("The host did not answer. Try again."));

  const refresh = () => { showTimes(document); showNeeds(); };
  document.addEventListener("htmx:afterSettle", refresh);
  setInterval(() => showTimes(document), 10000);
  refresh();
})();
