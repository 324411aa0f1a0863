// What an admin does to somebody who signs in by a provider, with each of the buttons of a row.
import assert from "node:assert/strict";
import {after, before, test} from "node:test";
import {check} from "./checks.mjs";
import {signedIn, startBrowser, startHost} from "./host.mjs";
import {startProvider} from "./provider.mjs";

const LOGIN = "ada@example.org";

let provider;
let host;
let browser;
before(async () => {
  provider = await startProvider(LOGIN);
  [host, browser] = await Promise.all([startHost(provider.settings), startBrowser()]);
});
after(async () => { await browser?.close(); await host?.stop(); await provider?.stop(); });

/// Goes to the provider and comes back.
async function signIn(page) {
  await page.goto("/sign-in");
  await page.getByRole("link", {name: "Sign in with Example"}).click();
}

/// A browser of hers, which has been at the provider.
async function hers() {
  const context = await browser.newContext({baseURL: host.url});
  const page = await context.newPage();
  await signIn(page);
  return page;
}

/// That her session has ended, and that she comes in again.
async function outAndIn(page) {
  await page.goto("/workflows");
  await outside(page);
  await signIn(page);
  await page.waitForURL("**/workflows");
}

async function press(page, name) {
  const row = page.getByRole("row", {name: new RegExp(`^${LOGIN}`)});
  await row.getByRole("button", {name, exact: true}).click();
  const dialog = page.getByRole("dialog");
  if (name !== "Enable") await dialog.getByRole("button", {name, exact: true}).click();
  return row;
}

const outside = (page) => page.getByRole("heading", {name: "Sign in"}).waitFor();

test("an admin changes somebody's role, disables and enables her, and parts her from the provider", async () => {
  const page = await signedIn(browser, host);
  const first = await hers();
  await first.waitForURL("**/workflows");
  assert.equal((await first.goto("/users")).status(), 403);

  await page.goto("/users");
  const row = page.getByRole("row", {name: new RegExp(`^${LOGIN}`)});
  await row.getByText("Example", {exact: true}).waitFor();
  await check(page, "the users with one of a provider");

  // Who says no in the dialog changes nothing.
  await row.getByRole("button", {name: "Make an admin"}).click();
  await page.getByRole("dialog").getByRole("button", {name: "Cancel"}).click();
  await row.getByText("Member", {exact: true}).waitFor();
  await press(page, "Make an admin");
  await row.getByText("Admin", {exact: true}).waitFor();
  await outAndIn(first);
  await first.goto("/users");
  await first.getByRole("heading", {name: "Users", exact: true}).waitFor();
  await press(page, "Make a member");
  await row.getByText("Member", {exact: true}).waitFor();
  await outAndIn(first);
  assert.equal((await first.goto("/users")).status(), 403);

  // Out at once, and not in again before she is enabled.
  await press(page, "Disable");
  await row.getByText("Disabled").waitFor();
  await first.goto("/workflows");
  await outside(first);
  const refused = await hers();
  await refused.getByText(/disabled/).first().waitFor();
  await refused.context().close();
  await press(page, "Enable");
  await row.getByText("Disabled").waitFor({state: "detached"});
  const second = await hers();
  await second.waitForURL("**/workflows");

  // Parted: her sessions end, the row has no way to sign in but a link, nor the button.
  await press(page, "Unlink");
  await row.getByText("link only").waitFor();
  assert.equal(await row.getByRole("button", {name: "Unlink"}).count(), 0);
  await check(page, "the users after one was unlinked");
  await second.goto("/workflows");
  await outside(second);
  const user = await host.api("GET", `/api/v1/users/${LOGIN}`);
  assert.equal(user.has_provider, false);
  // The provider's account is not hers any more, though the address is her login.
  const third = await hers();
  await third.getByText(/already|taken|another/).first().waitFor();
  assert.equal((await host.api("GET", `/api/v1/users/${LOGIN}`)).has_provider, false);

  // By a link she is herself again.
  await row.getByRole("button", {name: "Make a link"}).click();
  const link = await page.getByLabel("The link").inputValue();
  await third.goto(link);
  await third.getByRole("button", {name: "Sign in"}).click();
  await third.getByLabel("New password").waitFor();

  await page.goto("/audit");
  await page.getByRole("row", {name: /user\.change.*unlink/}).first().waitFor();
  for (const one of [first, second, third, page]) await one.context().close();
});
