// What pages weigh, where they ask, and that they stay usable: with 5,000 workflows, with
// the keyboard alone, over a slow network, and when the host goes away.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {signedIn, startBrowser, startHost} from "./host.mjs";

const WORKFLOWS = 5000;
/// Bytes of a page with all that it loads for the first time, as they are sent; without the
/// editor, which two pages have.
const PAGE_BYTES_MAX = 50_000;
/// The pages that draw charts have the library for it.
const CHART_BYTES_MAX = 75_000;

let host;
let browser;
before(async () => { [host, browser] = await Promise.all([startHost(), startBrowser()]); });
after(async () => { await browser?.close(); await host?.stop(); });

/// Loads a page with an empty cache: its bytes, its requests, and when something was painted.
async function load(page, path) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.setCacheDisabled", {cacheDisabled: true});
  const seen = {bytes: 0, urls: []};
  session.on("Network.requestWillBeSent", ({request}) => seen.urls.push(request.url));
  session.on("Network.loadingFinished", ({encodedDataLength}) => { seen.bytes += encodedDataLength; });
  const reply = await page.goto(path, {waitUntil: "load"});
  seen.policy = reply.headers()["content-security-policy"];
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
  seen.paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  seen.answer = await page.evaluate(() => performance.getEntriesByType("navigation")[0].responseEnd);
  await session.detach();
  return seen;
}

test("pages are light, ask nobody else, and let no inline script run", async (context) => {
  await host.api("POST", "/api/v1/workflows", {name: "one", kind: "catch"});
  const page = await signedIn(browser, host);
  const editors = ["/workflows/one/function"];
  const charts = ["/workflows/one/monitoring?range=15m", "/monitoring?range=15m"];
  const plain = ["/workflows", "/create", "/create/blank-pull", "/workflows/one", "/workflows/one/settings", "/workflows/one/configuration",
    "/workflows/one/runs", "/runs", "/dead", "/host", "/admin", "/users", "/audit", "/account"];
  for (const path of [...plain, ...charts, ...editors]) {
    const seen = await load(page, path);
    context.diagnostic(`${path}: ${seen.bytes} bytes, answered after ${seen.answer.toFixed()} ms, painted after ${seen.paint.toFixed()} ms`);
    const most = editors.includes(path) ? Infinity : charts.includes(path) ? CHART_BYTES_MAX : PAGE_BYTES_MAX;
    assert.ok(seen.bytes <= most, `${path} has ${seen.bytes} bytes`);
    assert.deepEqual(seen.urls.filter((url) => !url.startsWith(`${host.url}/`) && !url.startsWith("data:")), [], path);
    for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]) assert.ok(seen.policy.includes(part), path);
    assert.ok(!seen.policy.includes("unsafe"), path);
    // Libraries set single properties of their own elements, which needs no inline style.
    const inline = "script:not([src]), style, [onclick], [style]:not(.uplot, .uplot *)";
    if (!editors.includes(path)) assert.equal(await page.locator(inline).count(), 0, path);
  }
  assert.deepEqual(page.troubles, []);
  await page.context().close();
});

test("the keyboard alone comes everywhere", async () => {
  const page = await signedIn(browser, host);
  await page.goto("/workflows");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q");
  await page.goto("/workflows/one");
  // Every control is reached, in the order of the page, and shows that it has the focus.
  const controls = await page.locator("a[href]:visible, button:visible:enabled, input:visible:not([type=hidden]), select:visible, summary:visible").count();
  const reached = new Set();
  for (let at = 0; at < controls + 5; at += 1) {
    await page.keyboard.press("Tab");
    const seen = await page.evaluate(() => {
      const own = document.activeElement;
      if (own === document.body) return null;
      const look = getComputedStyle(own);
      return {at: [...document.querySelectorAll("*")].indexOf(own), ring: look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0, what: own.outerHTML.slice(0, 120)};
    });
    if (!seen) continue;
    assert.ok(seen.ring, `no focus is seen on ${seen.what}`);
    reached.add(seen.at);
  }
  assert.ok(reached.size >= controls, `${reached.size} of ${controls} controls`);
  // A question is answered with the keyboard, and "no" changes nothing.
  await page.getByRole("button", {name: "Replace the URL"}).focus();
  const before = await page.getByLabel("URL of the endpoint").inputValue();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({state: "detached"});
  assert.equal(await page.getByLabel("URL of the endpoint").inputValue(), before);
  await page.context().close();
});

test("a slow network shows the page first, and a host that goes away is said", async () => {
  const page = await signedIn(browser, host);
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", {offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 20_000});
  await page.goto("/workflows", {waitUntil: "commit"});
  await page.getByRole("heading", {name: "Workflows"}).waitFor();
  await page.goto("/workflows/one/runs");
  await page.getByText("Nothing has run yet.").waitFor();
  // What asks the host says so when there is no answer.
  await session.send("Network.emulateNetworkConditions", {offline: true, latency: 0, downloadThroughput: -1, uploadThroughput: -1});
  await page.getByLabel("Status").selectOption("failed");
  await page.getByText("The host did not answer.").first().waitFor();
  await page.context().close();
});

test("5,000 workflows are a page as any other", async (context) => {
  const names = Array.from({length: WORKFLOWS}, (_, at) => `w-${String(at).padStart(4, "0")}`);
  const queue = [...names];
  const create = async () => {
    for (let name = queue.pop(); name; name = queue.pop()) {
      const kind = name.endsWith("0") ? "pull" : "catch";
      const schedules = kind === "pull" ? [{every: `${Number(name.slice(2)) + 1}h`}] : [];
      await host.api("POST", "/api/v1/workflows", {name, kind, schedules, description: `Number ${name}`});
    }
  };
  await Promise.all(Array.from({length: 32}, create));
  const page = await signedIn(browser, host);
  for (const path of ["/workflows", "/workflows?sort=last", "/workflows?sort=success", "/workflows?sort=due", "/workflows?page=100", "/workflows?q=w-4321"]) {
    const seen = await load(page, path);
    context.diagnostic(`${path}: ${seen.bytes} bytes, answered after ${seen.answer.toFixed()} ms, painted after ${seen.paint.toFixed()} ms`);
    assert.ok(seen.bytes <= PAGE_BYTES_MAX, `${path} has ${seen.bytes} bytes`);
    assert.ok(await page.locator("#list tbody tr").count() <= 50, path);
  }
  await page.goto("/workflows?sort=due");
  assert.match(await page.locator("#list tbody tr").first().textContent(), /w-0000/);
  await page.locator("#q").fill("w-4321");
  await page.getByText("1 workflow, of 5,001 in all").waitFor();
  await check(page, "one of 5,000");
  await page.context().close();
});
