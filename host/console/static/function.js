// The function page: the editor in the place of its text field, findings at their lines,
// uploads.
"use strict";
(() => {
  let editor = null;
  const area = document.querySelector("textarea[data-editor]");

  if (area && globalThis.TidegateEditor) {
    const form = area.form;
    const dirty = form.querySelector("[data-dirty]");
    const place = document.createElement("div");
    place.className = "editor-place";
    area.hidden = true;
    area.after(place);
    editor = TidegateEditor.open(place, {
      text: area.value,
      language: area.dataset.editor,
      label: area.getAttribute("aria-label"),
      changed: (text) => {
        area.value = text;
        if (dirty) dirty.hidden = false;
      },
    });
    place.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        form.requestSubmit();
      }
    }, true);
    addEventListener("beforeunload", (event) => { if (dirty && !dirty.hidden) event.preventDefault(); });

    const clean = () => { if (dirty) dirty.hidden = true; };
    const findings = (root) => {
      const found = [...root.querySelectorAll("[data-line]")].map((item) => ({
        line: Number(item.dataset.line), column: Number(item.dataset.column), message: item.dataset.message,
      }));
      editor.mark(found);
    };
    document.addEventListener("htmx:afterSwap", (event) => {
      if (event.detail.target.id !== "deployed") return;
      findings(event.detail.target);
      if (event.detail.target.querySelector("[data-deployed]")) clean();
    });
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-upload]");
    if (!button) return;
    const file = document.getElementById("component").files[0];
    const place = document.getElementById("deployed");
    if (!file) {
      document.getElementById("component").focus();
      place.textContent = "Choose a file first.";
      return;
    }
    button.disabled = true;
    place.textContent = "Uploading and compiling…";
    try {
      const reply = await fetch(button.dataset.upload, {
        method: "POST",
        headers: {"content-type": "application/wasm", "hx-request": "true"},
        body: file,
      });
      const parsed = new DOMParser().parseFromString(await reply.text(), "text/html");
      place.replaceChildren(...parsed.body.childNodes);
      htmx.process(place);
    } catch {
      place.textContent = "The host did not answer. Try again.";
    } finally {
      button.disabled = false;
    }
  });
})();
