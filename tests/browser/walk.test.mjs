// A new user's way through the console, on a desktop, on a phone and in the dark.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {paste, signedIn, startBrowser, startHost} from "./host.mjs";

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
  await page.getByRole("button", {name: "Run now"}).click();
  await page.locator(".log").getByText(/^tick \d/).waitFor();
  await page.goto(`/workflows/${pullName}/monitoring?range=15m`);
  await page.locator(".chart canvas").first().waitFor();
  await check(page, "the monitoring of a pull");

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
  for (const path of ["/runs", "/dead", "/monitoring?range=15m", "/host", "/admin", "/users", "/account"]) {
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
