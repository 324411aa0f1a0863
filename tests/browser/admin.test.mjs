// What an admin does: users and their roles, tokens, the audit log, limits, runtimes, a
// backup; and what somebody who is none does not see.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {signedIn, startBrowser, startHost} from "./host.mjs";

let host;
let browser;
before(async () => { [host, browser] = await Promise.all([startHost(), startBrowser()]); });
after(async () => { await browser?.close(); await host?.stop(); });

async function confirm(page, name) {
  const dialog = page.getByRole("dialog");
  if (await dialog.count()) await dialog.getByRole("button", {name}).click();
}

test("an admin adds somebody, who signs in and sees what members see", async () => {
  const page = await signedIn(browser, host);
  await page.goto("/admin");
  await page.getByRole("link", {name: "Users and their roles"}).click();
  await page.getByLabel("Login", {exact: true}).fill("Not A Login");
  await page.getByRole("button", {name: "Add", exact: true}).click();
  await page.locator("#login-about .wrong").waitFor();
  await check(page, "the users with an error");
  await page.getByLabel("Login", {exact: true}).fill("ada");
  await page.getByLabel("Name", {exact: true}).fill("Ada");
  await page.getByRole("button", {name: "Add", exact: true}).click();
  const link = await page.getByLabel("The link").inputValue();
  await check(page, "the users with a link");

  // She signs in by it, sets a password, and is no admin.
  const context = await browser.newContext({baseURL: host.url});
  const hers = await context.newPage();
  hers.troubles = [];
  await hers.goto(link);
  await hers.getByRole("button", {name: "Sign in"}).click();
  await hers.getByLabel("New password").fill("a long and winding password");
  await hers.getByRole("button", {name: "Set the password"}).click();
  await hers.getByText("The password is set.").waitFor();
  for (const name of ["Admin", "Host", "Monitoring"]) assert.equal(await hers.getByRole("link", {name, exact: true}).count(), 0);
  for (const path of ["/admin", "/users", "/audit", "/host", "/monitoring", "/api/v1/backup"]) {
    assert.ok((await hers.goto(path)).status() >= 400, path);
  }
  await host.api("POST", "/api/v1/workflows", {name: "hidden", kind: "catch", private: true});
  await host.api("POST", "/api/v1/workflows", {name: "seen", kind: "catch"});
  await hers.goto("/workflows");
  await hers.getByRole("link", {name: "seen", exact: true}).click();
  assert.equal(await hers.getByRole("link", {name: "Configuration"}).count(), 0);
  assert.equal(await hers.getByRole("link", {name: "hidden", exact: true}).count(), 0);
  assert.equal((await hers.goto("/workflows/hidden")).status(), 404);
  assert.equal((await hers.goto("/workflows/seen/configuration")).status(), 403);
  await hers.goto("/workflows/seen");
  await check(hers, "a workflow for who may only look");

  // It is given to her: she may change it, and share it.
  await page.goto("/workflows/seen/configuration");
  await page.getByLabel("Owner").fill("nobody-here");
  await page.getByRole("button", {name: "Save: Access"}).click();
  await page.locator("[id='owner-about'] .wrong").waitFor();
  await page.getByLabel("Owner").fill("ada");
  await page.getByRole("button", {name: "Save: Access"}).click();
  await page.getByText("Access: saved.").waitFor();
  await hers.goto("/workflows/seen/configuration");
  await hers.getByRole("button", {name: "Save: Access"}).waitFor();

  // Disabled, she is out at once.
  await page.goto("/users");
  const row = page.getByRole("row", {name: /^ada/});
  await row.getByRole("button", {name: /^Disable/}).click();
  await confirm(page, /^Disable/);
  await row.getByText("Disabled").waitFor();
  await hers.goto("/workflows");
  await hers.getByRole("heading", {name: "Sign in"}).waitFor();
  await context.close();

  await page.goto("/audit");
  for (const what of ["user.change", "workflow.change", "session.begin"]) await page.getByText(what).first().waitFor();
  await check(page, "the audit log");
  await page.context().close();
});

test("a token is shown once, works, and is revoked", async () => {
  const page = await signedIn(browser, host);
  await page.goto("/account");
  await page.getByText("Make a token").click();
  await page.getByLabel("What it is for").fill("a program");
  await page.getByRole("button", {name: "Make the token"}).click();
  const token = await page.getByLabel("The new token").inputValue();
  const ask = async () => (await fetch(`${host.url}/api/v1/workflows`, {headers: {authorization: `Bearer ${token}`}})).status;
  assert.equal(await ask(), 200);
  await check(page, "a new token");
  await page.goto("/account");
  assert.ok(!(await page.content()).includes(token));
  await page.getByRole("row", {name: /a program/}).getByRole("button", {name: "Revoke"}).click();
  await confirm(page, "Revoke");
  await page.getByRole("row", {name: /a program.*Ended/}).waitFor();
  assert.equal(await ask(), 401);
  await page.context().close();
});

test("an admin sees limits and runtimes, and takes a backup", async () => {
  const page = await signedIn(browser, host);
  await page.goto("/admin");
  await page.getByText("engine.deadline_ms").waitFor();
  await page.getByText("22 packages").or(page.getByText(/\d+ packages/)).first().click();
  await page.getByText("requests", {exact: true}).waitFor();
  await check(page, "the admin page with packages");
  const download = page.waitForEvent("download");
  await page.getByRole("link", {name: "Download a backup"}).click();
  const file = await download;
  assert.equal(await file.failure(), null);
  await page.getByRole("link", {name: "Health"}).click();
  await page.getByText("Ready").waitFor();
  await page.context().close();
});
