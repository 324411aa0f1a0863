// Script in every field, and in what guests say: none of it runs, and none of it becomes
// markup.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {paste, signedIn, startBrowser, startHost} from "./host.mjs";

const CALL = "globalThis.pwned=1";
const STRINGS = [
  `<script>${CALL}</script>`, `"><script>${CALL}</script>`, `'><script>${CALL}</script>`, `</script><script>${CALL}</script>`,
  `</title><script>${CALL}</script>`, `</textarea><script>${CALL}</script>`, `</style><script>${CALL}</script>`, `--><script>${CALL}</script>`,
  `<img src=x onerror=${CALL}>`, `"><img src=x onerror=${CALL}>`, `'><img src=x onerror=${CALL}>`, `<img src="x" onerror="${CALL}"//`,
  `<svg onload=${CALL}>`, `<svg><script>${CALL}</script></svg>`, `<svg><animate onbegin=${CALL} attributeName=x dur=1s>`, `<svg><a xlink:href="javascript:${CALL}"><text>x</text></a></svg>`,
  `<body onload=${CALL}>`, `<iframe src="javascript:${CALL}"></iframe>`, `<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>`, `<object data="javascript:${CALL}"></object>`,
  `<embed src="javascript:${CALL}">`, `<a href="javascript:${CALL}">x</a>`, `<form action="javascript:${CALL}"><button>x</button></form>`, `<input autofocus onfocus=${CALL}>`,
  `<select autofocus onfocus=${CALL}></select>`, `<textarea autofocus onfocus=${CALL}></textarea>`, `<video><source onerror=${CALL}></video>`, `<audio src=x onerror=${CALL}>`,
  `<details open ontoggle=${CALL}>x</details>`, `<marquee onstart=${CALL}>x</marquee>`, `<meta http-equiv="refresh" content="0;url=javascript:${CALL}">`, `<base href="//evil.example/">`,
  `<link rel=stylesheet href="//evil.example/x.css">`, `<style>@import "//evil.example/x.css";</style>`, `<div style="background:url(//evil.example/x)">x</div>`, `<math><mtext><img src=x onerror=${CALL}></mtext></math>`,
  `" onmouseover="${CALL}`, `' onmouseover='${CALL}`, `" autofocus onfocus="${CALL}" x="`, `\` onmouseover=${CALL} \``,
  `<div hx-get="/static/x" hx-trigger="load">x</div>`, `<div hx-on:load="${CALL}">x</div>`, `<div data-hx-get="/" data-hx-trigger="load"></div>`, `{{constructor.constructor('${CALL}')()}}`,
  `\${${CALL}}`, `%3Cscript%3E${CALL}%3C/script%3E`, `&lt;script&gt;${CALL}&lt;/script&gt;`, `\u2028<script>${CALL}</script>\u2029`,
  `\u202e<script>${CALL}</script>`, `]]><script>${CALL}</script>`,
];
const GUEST = `import json
import logging

STRINGS = json.loads(${JSON.stringify(JSON.stringify(STRINGS))})

def workflow(_request, settings):
    for text in STRINGS:
        print(text)
        logging.error("%s", text)
    # Plain ones: what is secret would be masked in the log that is looked at.
    settings.update({f"{text[:100]}{at}": text + " " for at, text in enumerate(STRINGS)})
    if _request.get("fail"):
        raise ValueError(_request["fail"])
    return dict(status_code=200, headers={"Content-Type": "text/html", "X-Said": STRINGS[8]}, body="".join(STRINGS))
`;

let host;
let browser;
before(async () => { [host, browser] = await Promise.all([startHost(), startBrowser()]); });
after(async () => { await browser?.close(); await host?.stop(); });

async function clean(page, path) {
  await page.goto(path);
  await page.locator("main").waitFor();
  const seen = await page.evaluate(() => ({
    pwned: globalThis.pwned,
    scripts: [...document.scripts].filter((script) => !script.src.startsWith(`${location.origin}/static/`)).length,
    foreign: document.querySelectorAll("iframe, object, embed, base, video, audio, marquee, img, math, style").length,
    handlers: [...document.querySelectorAll("*")].filter((one) => [...one.attributes].some((own) => own.name.startsWith("on"))).length,
    // The editor's shadow root is in none of these: its content is text.
  }));
  assert.deepEqual(seen, {pwned: undefined, scripts: 0, foreign: 0, handlers: 0}, path);
  assert.deepEqual(page.troubles, [], path);
}

test("no string becomes script or markup, in any field or in what a guest says", async () => {
  assert.equal(STRINGS.length, 50);
  const page = await signedIn(browser, host);
  page.on("dialog", () => page.troubles.push("a dialog"));
  for (const [at, text] of STRINGS.entries()) {
    await host.api("POST", "/api/v1/workflows", {name: `w-${at}`, kind: "catch", description: text});
  }
  const created = await host.api("GET", "/api/v1/workflows/w-0");
  const message = encodeURIComponent(STRINGS[0]);
  await host.api("POST", `/api/v1/workflows/w-0/versions?message=${message}`, GUEST, "text/x-python");
  const patch = Object.fromEntries(STRINGS.map((text, at) => [`${text.slice(0, 100)}${at}`, text]));
  await host.api("PATCH", "/api/v1/workflows/w-0/settings?visibility=plain", patch);
  // Names of kept requests, and what is in them.
  for (const [at, text] of STRINGS.slice(0, 20).entries()) {
    const name = encodeURIComponent(text.replace(/[\u0000-\u001f\u2028-\u202e]/g, "").slice(0, 90) + at);
    await host.api("PUT", `/api/v1/workflows/w-0/samples/${name}`, {path: "/", headers: {"x-said": STRINGS[8]}, body: text});
  }
  for (const [at, text] of STRINGS.entries()) await host.api("POST", "/api/v1/tokens", {label: `${text}${at}`});
  const call = (body) => fetch(created.url, {method: "POST", headers: {"content-type": "application/json", "x-said": STRINGS[9]}, body: JSON.stringify(body)});
  const good = (await call({said: STRINGS})).headers.get("tidegate-run");
  const bad = [];
  for (const text of STRINGS) bad.push((await call({fail: text})).headers.get("tidegate-run"));
  await page.goto("/workflows");
  await page.locator("#q").fill(STRINGS[0]);
  await page.locator("#list").getByText(/workflows, of 50 in all$/).waitFor();
  const paths = ["/workflows", "/workflows/w-0", "/workflows/w-0/function", "/workflows/w-0/settings", "/workflows/w-0/runs",
    "/workflows/w-0/versions", "/workflows/w-0/versions/1", "/workflows/w-0/monitoring?range=15m", "/workflows/w-0/configuration", "/audit", "/dead", "/admin", "/users", "/users?tokens=admin", "/account", "/runs", "/monitoring?range=15m", "/host", `/runs/${good}`,
    ...bad.map((run) => `/runs/${run}`), ...STRINGS.map((_, at) => `/workflows/w-${at}`),
    ...STRINGS.map((text) => `/workflows?q=${encodeURIComponent(text)}`),
    ...STRINGS.map((text) => `/workflows/w-0/settings?name=${encodeURIComponent(text)}&value=${encodeURIComponent(text)}#set`)];
  for (const path of paths) await clean(page, path);

  // What is typed into a form comes back with what is wrong with it.
  for (const text of STRINGS.slice(0, 12)) {
    await page.goto("/workflows/w-0/configuration");
    await page.getByLabel("Time of a run", {exact: true}).fill(text);
    await page.getByRole("button", {name: "Save: Limits"}).click();
    await page.locator(".alert.bad").waitFor();
    assert.equal(await page.getByLabel("Time of a run", {exact: true}).inputValue(), text);
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    await page.getByLabel("Destinations", {exact: true}).fill(text);
    await page.getByRole("button", {name: "Save: Outbound requests"}).click();
    await page.locator(".alert.bad").waitFor();
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
  }

  // What the log and the settings show is the text itself.
  await page.goto(`/runs/${good}`);
  await page.locator(".log").getByText(STRINGS[0], {exact: true}).first().waitFor();
  await page.context().close();
});

test("code that is script is text in the editor and in findings", async () => {
  const page = await signedIn(browser, host);
  page.on("dialog", () => page.troubles.push("a dialog"));
  await host.api("POST", "/api/v1/workflows", {name: "typed", kind: "catch"});
  await page.goto("/workflows/typed/function");
  for (const text of STRINGS.slice(0, 10)) {
    await paste(page, `def ${text}`);
    await page.getByRole("button", {name: "Deploy", exact: true}).click();
    await page.locator("#deployed .findings").waitFor();
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    await page.evaluate(() => document.getElementById("deployed").replaceChildren());
  }
  assert.deepEqual(page.troubles, []);
  await page.context().close();
});
