// What an old session may not do alone: the password is asked for, and what was asked for is
// done then.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {signedIn, startBrowser, startHost} from "./host.mjs";

let host;
let browser;
before(async () => {
  [host, browser] = await Promise.all([startHost({TIDEGATE_ACCOUNTS__PROOF_S: "3"}), startBrowser()]);
  // By the token of the data folder: the session of the link may be too old before a password is typed.
  host.password = "correct horse battery staple";
  await host.api("PUT", "/api/v1/users/admin/password", {password: host.password});
  await host.api("POST", "/api/v1/workflows", {name: "w", kind: "catch"});
});
after(async () => { await browser?.close(); await host?.stop(); });

/// Waits until the session is too old.
async function old(page) {
  const ask = () => page.request.patch("/api/v1/workflows/w/settings?visibility=plain", {data: {}});
  for (let reply = await ask(); reply.status() !== 403; reply = await ask()) assert.equal(reply.status(), 200);
}

async function prove(page, password) {
  await page.getByRole("heading", {name: "Is it you?"}).waitFor();
  await page.getByLabel("Your password").fill(password);
  await page.getByRole("button", {name: "Go on"}).click();
}

test("an old session asks for the password, and goes on with the form", async () => {
  const page = await signedIn(browser, host);
  // A token, with a guess before it.
  await page.goto("/account");
  await page.getByText("Make a token").click();
  await page.getByLabel("What it is for").fill("a program");
  await old(page);
  await page.getByRole("button", {name: "Make the token"}).click();
  await page.getByRole("heading", {name: "Is it you?"}).waitFor();
  await check(page, "the question for the password");
  await prove(page, "a guess");
  await page.locator(".wrong").waitFor();
  await check(page, "the question for the password after a guess");
  await prove(page, host.password);
  await page.getByLabel("The new token").waitFor();
  await page.getByRole("row", {name: /a program/}).waitFor();

  // Another password.
  await page.goto("/account");
  const another = "another horse with batteries";
  await page.getByLabel("New password").fill(another);
  await old(page);
  await page.getByRole("button", {name: "Set the password"}).click();
  await prove(page, host.password);
  host.password = another;
  await page.getByText("The password is set.").waitFor();

  // A user, and whoever does not go on changes nothing.
  await page.goto("/users");
  await page.getByLabel("Login", {exact: true}).fill("ada");
  await old(page);
  await page.getByRole("button", {name: "Add", exact: true}).click();
  await page.getByRole("link", {name: "Not now"}).click();
  await page.getByRole("heading", {name: "Users", exact: true}).waitFor();
  assert.equal(await page.getByRole("row", {name: /^ada/}).count(), 0);
  await page.getByLabel("Login", {exact: true}).fill("ada");
  await old(page);
  await page.getByRole("button", {name: "Add", exact: true}).click();
  await prove(page, host.password);
  await page.getByLabel("The link").waitFor();

  // A setting that everybody may read who sees the workflow.
  await page.goto("/workflows/w/settings");
  await page.getByLabel("Name", {exact: true}).fill("REGION");
  await page.getByLabel("Value").fill("eu-west");
  await page.getByLabel("Kept as").selectOption("plain");
  await old(page);
  await page.getByRole("button", {name: "Save"}).click();
  await prove(page, host.password);
  await page.getByText("The setting is saved.").waitFor();
  await page.getByText("eu-west").waitFor();
  await page.context().close();
});

test("a backup is downloaded after the password, and the page stays a page", async () => {
  const page = await signedIn(browser, host);
  await page.goto("/admin");
  await old(page);
  const download = page.waitForEvent("download");
  await page.getByRole("link", {name: "Download a backup"}).click();
  // A busy machine may let the proof grow old before it is used: the page asks once more.
  for (let began = false; !began;) {
    await prove(page, host.password);
    await page.getByText("The download of the backup begins.").waitFor();
    const asked = page.getByRole("heading", {name: "Is it you?"}).waitFor().then(() => false, () => true);
    began = await Promise.race([download.then(() => true), asked]);
  }
  const file = await download;
  assert.match(file.suggestedFilename(), /^tidegate-\d{8}-\d{6}\.tar$/);
  assert.equal(await file.failure(), null);
  await page.getByText("The download of the backup begins.").waitFor();
  await check(page, "the admin page after a download");
  await page.context().close();
});

test("an admin sees and revokes the tokens of others, without a proof", async () => {
  const users = await host.api("GET", "/api/v1/users");
  if (!users.users.some(({login}) => login === "grace")) await host.api("POST", "/api/v1/users", {login: "grace"});
  const {secret} = await host.api("POST", "/api/v1/tokens", {user: "grace", label: "her program"});
  const ask = async () => (await fetch(`${host.url}/api/v1/workflows`, {headers: {authorization: `Bearer ${secret}`}})).status;
  assert.equal(await ask(), 200);
  const page = await signedIn(browser, host);
  await page.goto("/users");
  await page.getByRole("link", {name: "1 token of grace"}).click();
  await page.getByRole("heading", {name: "Tokens of grace"}).waitFor();
  await check(page, "the tokens of a user");
  await old(page);
  await page.getByRole("row", {name: /her program/}).getByRole("button", {name: "Revoke"}).click();
  await page.getByRole("dialog").getByRole("button", {name: "Revoke"}).click();
  await page.getByText("The token does not work any more.").waitFor();
  await page.getByRole("row", {name: /her program.*Ended/}).waitFor();
  assert.equal(await ask(), 401);
  await page.context().close();
});
