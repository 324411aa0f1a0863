// A new user's way through the console, on a desktop, on a phone and in the dark.
import assert from "node:assert/strict";
import {createHmac} from "node:crypto";
import {join} from "node:path";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {need, paste, signedIn, startBrowser, startHost} from "./host.mjs";

const BROKEN = `import json

def workflow(_request, settings):
    return dict(status_code=200, body=json.dumps({"hello": _request["name"])}
`;
const GOOD = `import json


def workflow(_request, settings):
    print("greeting", _request["name"])
    settings["CALLS"] = settings.get("CALLS", 0) + 1
    return dict(status_code=200, body=json.dumps({"hello": _request["name"]}))
`;
const PULL = `def workflow(settings):
    settings["TICKS"] = settings.get("TICKS", 0) + 1
    print("tick", settings["TICKS"])
`;

let host;
let browser;
before(async () => { [host, browser] = await Promise.all([startHost(), startBrowser()]); });
after(async () => { await browser?.close(); await host?.stop(); });

async function deploy(page, code) {
  await paste(page, code);
  await page.getByRole("button", {name: "Deploy", exact: true}).click();
}

async function confirm(page, name) {
  await page.getByRole("dialog").getByRole("button", {name}).click();
}

/// How a workflow is set up, with what is wrong at its field.
async function configure(page, name, url) {
  await page.goto(`/workflows/${name}/configuration`);
  await check(page, "the configuration");
  await page.getByLabel("Time of a run", {exact: true}).fill("30");
  await page.getByRole("button", {name: "Save: Limits"}).click();
  await page.locator(`[id="limits.deadline_ms-about"] .wrong`).getByText(/no unit/).waitFor();
  assert.equal(await page.getByLabel("Time of a run", {exact: true}).inputValue(), "30");
  await check(page, "the configuration with an error");
  const save = async (part) => {
    await page.getByRole("button", {name: `Save: ${part}`}).click();
    await page.getByText(`${part}: saved.`).waitFor();
  };
  await page.getByLabel("Time of a run", {exact: true}).fill("20s");
  await page.getByLabel("Requests a second", {exact: true}).fill("50");
  await save("Limits");
  assert.equal(await page.getByLabel("Requests a second", {exact: true}).inputValue(), "50");
  assert.equal(await page.getByLabel("Time of a run", {exact: true}).inputValue(), "20s");
  await page.getByLabel("Destinations", {exact: true}).fill("GET,POST api.company.com/v1");
  await save("Outbound requests");
  assert.ok(await page.getByLabel("Only to the destinations below").isChecked());
  await page.getByLabel("Attempts").fill("3");
  await save("Trying again");
  await page.getByLabel("PUT", {exact: true}).check();
  await page.getByLabel("Origins of browsers").fill("https://www.company.com");
  await save("Endpoint");
  await page.getByLabel("Description").fill("Says hello");
  await save("Details");
  await page.getByLabel("Private").check();
  await save("Access");
  await page.getByLabel("Who signs").selectOption({label: "GitHub"});
  await page.getByLabel("Secret", {exact: true}).fill("xyzzy-signing");
  await save("Signed requests");
  assert.ok(!(await page.content()).includes("xyzzy-signing"));
  const body = '{"name": "Eve"}';
  const json = {"content-type": "application/json"};
  assert.equal((await fetch(url, {method: "PUT", headers: json, body})).status, 401);
  const sign = createHmac("sha256", "xyzzy-signing").update(body).digest("hex");
  assert.equal((await fetch(url, {method: "PUT", headers: {...json, "x-hub-signature-256": `sha256=${sign}`}, body})).status, 200);
  await page.getByLabel("Who signs").selectOption({label: "Not signed: whoever knows the URL"});
  await save("Signed requests");
  assert.equal((await fetch(url, {method: "POST", headers: json, body})).status, 200);
}

async function walk(page, catchName, pullName) {
  // The list, the catalogue, a name that is wrong, one that is right.
  await check(page, "the list");
  await page.getByRole("link", {name: /^Create/}).first().click();
  await page.getByRole("heading", {name: "Create a workflow"}).waitFor();
  await check(page, "the catalogue");
  await page.getByRole("link", {name: /Blank catch/}).click();
  await page.getByLabel("Name", {exact: true}).fill("Not A Name");
  await page.getByRole("button", {name: "Create"}).click();
  await page.locator("#name-about .wrong").getByText("position 1").waitFor();
  await check(page, "the form with an error");
  await page.getByLabel("Name", {exact: true}).fill(catchName);
  await page.getByRole("button", {name: "Create"}).click();
  await page.waitForURL(`**/workflows/${catchName}/function?*`);
  await page.locator(".cm-content").getByText("Runs once for each HTTP request").waitFor();
  await check(page, "the function page");

  // Code with an error, which is shown at its line; mended and deployed.
  await deploy(page, BROKEN);
  await page.locator("#deployed [data-line='4']").waitFor();
  await page.locator(".cm-lint-marker-error").waitFor();
  const marked = await page.locator(".cm-lintRange-error").first().evaluate((mark) => mark.closest(".cm-line").textContent);
  assert.match(marked, /return dict/);
  await check(page, "the function page with a finding");
  await deploy(page, GOOD);
  await page.getByText("Version 1 is live.").waitFor();
  await page.locator(".cm-lint-marker-error").waitFor({state: "detached"});
  const url = await page.getByLabel("URL of the endpoint").inputValue();

  // A test with an edited request.
  await page.locator("#test").getByText("Runs version 1").waitFor();
  await page.getByLabel("Body").fill('{"name": "Grace"}');
  await page.getByRole("button", {name: "Run the test"}).click();
  await page.locator("#tested").getByText("greeting Grace").waitFor();
  await check(page, "the function page with a test");

  // The request is kept, and taken over again.
  await page.getByLabel("Name to keep this request under").fill("grace");
  await page.getByRole("button", {name: "Keep", exact: true}).click();
  await page.getByText("grace is kept.").waitFor();
  await page.reload();
  await page.getByLabel("Request", {exact: true}).selectOption({label: "grace"});
  await page.waitForFunction(() => document.querySelector("#body").value.includes("Grace"));
  await page.getByRole("button", {name: "Forget grace"}).waitFor();
  await check(page, "the function page with a kept request");

  // A component that is none says why, and the version that runs stays.
  await page.getByText("Upload a component instead").click();
  await page.getByLabel("Component file").setInputFiles({name: "x.wasm", mimeType: "application/wasm", buffer: Buffer.from("no wasm")});
  await page.getByRole("button", {name: "Upload and deploy"}).click();
  await page.locator("#deployed").getByText("The version that ran before still runs.").waitFor();

  // A call, seen as it happens.
  await page.getByRole("link", {name: "Debugger"}).click();
  await page.locator(".live-mark.on").waitFor();
  await check(page, "the debugger");
  const reply = await fetch(url, {method: "POST", headers: {"content-type": "application/json"}, body: '{"name": "Ada"}'});
  assert.deepEqual(await reply.json(), {hello: "Ada"});
  const run = reply.headers.get("tidegate-run");
  await page.locator(`tr[data-run="${run}"]`).getByText("succeeded").waitFor();
  await page.locator(`tr[data-run="${run}"] a`).first().click();
  await page.getByText("greeting Ada").waitFor();
  await check(page, "a run");

  // The same again, with another name.
  await page.getByLabel("Body").fill('{"name": "Joan"}');
  await page.getByRole("button", {name: "Run with this request"}).click();
  await page.getByText("greeting Joan").waitFor();
  assert.notEqual(new URL(page.url()).pathname, `/runs/${run}`);
  await page.getByRole("button", {name: "Run again"}).click();
  await page.getByText(", again after").waitFor();

  // The same request from its run, for a test.
  await page.getByRole("link", {name: "Take it over for a test"}).click();
  await page.waitForFunction(() => document.querySelector("#body")?.value.includes("Joan"));

  // One that fails, and all that failed again.
  const failed = await fetch(url, {method: "POST", headers: {"content-type": "application/json"}, body: "{}"});
  assert.equal(failed.status, 502);
  await page.goto(`/workflows/${catchName}/runs?status=failed`);
  await page.getByRole("button", {name: "Run all failed ones again"}).click();
  await confirm(page, "Run all failed ones again");
  await page.getByText("1 run is queued to be run again.").waitFor();
  await page.getByRole("row", {name: /failed.*replay/i}).waitFor();
  await check(page, "the debugger with runs that are run again");
  await page.getByText("Between two instants").click();
  await page.getByLabel("until").fill("2001-01-01T00:00:00");
  await page.getByText("No run passes these filters.").waitFor();

  await configure(page, catchName, url);

  // A secret, which nobody sees again.
  await page.goto(`/workflows/${catchName}/settings`);
  await page.getByLabel("Name", {exact: true}).fill("API_KEY");
  await page.getByLabel("Value").fill("xyzzy-secret");
  await page.getByRole("button", {name: "Save"}).click();
  await page.getByText("The setting is saved.").waitFor();
  await page.getByRole("cell", {name: /by run/}).waitFor();
  assert.ok(!(await page.content()).includes("xyzzy-secret"));
  await check(page, "the settings");

  // Another version, what it changed, and back.
  await page.getByRole("link", {name: "Function"}).click();
  await deploy(page, GOOD.replace("greeting", "welcoming"));
  await page.getByText("Version 2 is live.").waitFor();
  await page.goto(`/workflows/${catchName}/versions/2`);
  await page.locator(".diff .new").getByText("welcoming").waitFor();
  await check(page, "a version");
  await page.goto(`/workflows/${catchName}/runs?status=failed`);
  await page.getByLabel("Version").selectOption({label: "On version 1"});
  await check(page, "the debugger with a choice of versions");
  await page.goto(`/workflows/${catchName}`);
  await check(page, "the overview of a catch");
  await page.getByRole("button", {name: "Roll back to it"}).click();
  await confirm(page, "Roll back to it");
  await page.getByText("The version that you chose runs from now on.").waitFor();
  await page.getByRole("row", {name: /Version 1 Active/}).waitFor();

  // A pull, with its instants as its schedule is typed, and a tick.
  await page.goto("/create/blank-pull");
  await page.getByLabel("Name", {exact: true}).fill(pullName);
  await page.getByLabel("Cron expression").fill("0 8 * * 1");
  await page.getByText("At 08:00").or(page.getByText(/Monday/i)).first().waitFor();
  await page.getByLabel("Cron expression").fill("0 8 * *");
  await page.locator(".coming .wrong").waitFor();
  await check(page, "the form of a pull");
  await page.getByLabel("Amount").fill("2");
  await page.getByLabel("Unit").selectOption("seconds");
  await page.getByText("Every 2 seconds.").waitFor();
  await page.getByRole("button", {name: "Create"}).click();
  await deploy(page, PULL);
  await page.getByText("Version 1 is live.").waitFor();
  await page.getByRole("link", {name: "Debugger"}).click();
  await page.getByRole("row", {name: /succeeded.*pull/}).first().waitFor();
  await page.goto(`/workflows/${pullName}`);
  await check(page, "the overview of a pull");

  // Its schedule is changed: what happens when it cannot run on time.
  await page.getByRole("link", {name: "Change the schedule default"}).click();
  await page.getByLabel("The run before still goes on").waitFor({state: "attached"});
  await page.getByText("When it cannot run on time").click();
  await page.getByLabel("The run before still goes on").selectOption({label: "Run beside it"});
  await page.getByLabel("Spread").fill("5s");
  await page.locator(".coming .wrong").waitFor();
  await page.getByRole("button", {name: "Save the schedule"}).click();
  await page.getByText(/jitter is at most/).first().waitFor();
  await check(page, "the overview with a schedule that is wrong");
  await page.getByLabel("Spread").fill("500ms");
  await page.getByRole("button", {name: "Save the schedule"}).click();
  await page.getByText("The schedule is saved.").waitFor();
  await page.getByText(/runs beside a run that still goes.*500ms/i).waitFor();

  await page.getByRole("button", {name: "Run now"}).click();
  await page.locator(".log").getByText(/^tick \d/).waitFor();
  await page.goto(`/workflows/${pullName}/monitoring?range=15m`);
  await page.locator(".chart canvas").first().waitFor();
  await check(page, "the monitoring of a pull");
  await page.locator(".chart .u-over").first().hover();
  await page.waitForFunction(() => /\d/.test(document.querySelector(".chart .u-legend .u-value").textContent));

  // The list, in every order.
  for (const order of ["Last run", "Least successful", "Next due", "Changed last", "Newest first", "By name"]) {
    await page.goto("/workflows");
    await page.getByLabel("Order").selectOption({label: order});
    await page.waitForURL(order === "By name" ? "**/workflows*" : "**/workflows?*sort=*");
    await page.getByRole("link", {name: catchName, exact: true}).waitFor();
  }
  await check(page, "the list with workflows");

  // Paused, and archived.
  for (const name of [catchName, pullName]) {
    await page.goto(`/workflows/${name}`);
    await page.getByRole("button", {name: "Pause"}).click();
    await page.getByText("The workflow is paused: it takes no new work.").waitFor();
    const archive = page.getByRole("button", {name: "Archive this workflow"});
    assert.ok(await archive.isDisabled());
    await page.getByLabel(`Type ${name} to confirm`).fill(name);
    await archive.click();
    await page.waitForURL("**/workflows");
    assert.equal(await page.getByRole("link", {name, exact: true}).count(), 0);
  }

  // The pages of the host.
  for (const path of ["/runs", "/dead", "/monitoring?range=15m", "/host", "/admin", "/users", "/audit", "/account"]) {
    await page.goto(path);
    await check(page, path);
  }
  await page.getByRole("button", {name: "Sign out"}).click();
  await page.getByRole("heading", {name: "Sign in"}).waitFor();
  await check(page, "the sign-in page");
  await page.goto("/workflows");
  await page.getByRole("heading", {name: "Sign in"}).waitFor();
}

test("a new user's walk on a desktop", async () => {
  const page = await signedIn(browser, host);
  await walk(page, "desk-catch", "desk-pull");
  await page.context().close();
});

test("the same on a phone, 390 pixels wide", async () => {
  const page = await signedIn(browser, host, {viewport: {width: 390, height: 844}, hasTouch: true});
  await walk(page, "phone-catch", "phone-pull");
  await page.context().close();
});

test("the same in the dark", async () => {
  const page = await signedIn(browser, host, {colorScheme: "dark"});
  await walk(page, "dark-catch", "dark-pull");
  await page.context().close();
});

test("a component that is uploaded is deployed, tested and called", async () => {
  const page = await signedIn(browser, host);
  await host.api("POST", "/api/v1/workflows", {name: "uploaded", kind: "catch"});
  await page.goto("/workflows/uploaded/function");
  await page.getByText("Upload a component instead").click();
  await page.getByLabel("Component file").setInputFiles(join(need("TIDEGATE_GUESTS"), "hello.wasm"));
  await page.getByRole("button", {name: "Upload and deploy"}).click();
  await page.getByText("Version 1 is live.").waitFor();
  await check(page, "the function page after an upload");
  await page.getByRole("button", {name: "Run the test"}).click();
  await page.locator("#tested").getByText("succeeded").first().waitFor();
  const reply = await fetch(await page.getByLabel("URL of the endpoint").inputValue(), {method: "POST"});
  assert.deepEqual([reply.status, await reply.text()], [200, "hello\n"]);
  await page.goto("/workflows/uploaded/function");
  await check(page, "the function page of a component");
  await page.context().close();
});

test("the pages on a tablet, 820 pixels wide", async () => {
  const page = await signedIn(browser, host, {viewport: {width: 820, height: 1180}, hasTouch: true});
  const {url} = await host.api("POST", "/api/v1/workflows", {name: "tablet-catch", kind: "catch", description: "Says hello"});
  await host.api("POST", "/api/v1/workflows", {name: "tablet-pull", kind: "pull", schedules: [{every: "1h"}]});
  await host.api("POST", "/api/v1/workflows/tablet-catch/versions", GOOD, "text/x-python");
  const call = async (body) => {
    const reply = await fetch(url, {method: "POST", headers: {"content-type": "application/json"}, body});
    return reply.headers.get("tidegate-run");
  };
  const runs = [await call('{"name": "Ada"}'), await call("{}")];
  const own = ["", "/function", "/settings", "/configuration", "/runs", "/versions", "/versions/1", "/monitoring?range=15m"];
  for (const path of ["/workflows", "/create", "/create/blank-catch", "/create/blank-pull", ...own.map((tab) => `/workflows/tablet-catch${tab}`),
    "/workflows/tablet-pull", ...runs.map((run) => `/runs/${run}`),
    "/runs", "/dead", "/monitoring?range=15m", "/host", "/admin", "/users?tokens=admin", "/audit", "/account", "/nothing-here"]) {
    await page.goto(path);
    await check(page, `${path} on a tablet`);
  }
  await page.context().close();
});
