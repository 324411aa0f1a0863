// A host of its own on a free port, and a browser to look at it with.
import {spawn} from "node:child_process";
import {mkdtempSync, readFileSync, rmSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {createInterface} from "node:readline";
import {chromium} from "playwright-core";

export const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this by \`make browser\``);
  return value;
};

/// Starts the binary that TIDEGATE_BIN names, with the Python runtime of TIDEGATE_RUNTIME and
/// these variables.
export async function startHost(settings = {}) {
  const data = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEGATE_"));
  const child = spawn(need("TIDEGATE_BIN"), ["serve", "--json", "--data", data, "--listen", "127.0.0.1:0"], {
    // An unoptimised host compiles the runtime here, perhaps beside other work.
    env: {...Object.fromEntries(kept), TIDEGATE_ENGINE__COMPILE_TIMEOUT_MS: "900000", ...settings}, stdio: ["ignore", "pipe", "inherit"],
  });
  const said = await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the host ended with ${code}`)));
    let text = "";
    createInterface({input: child.stdout}).on("line", (line) => {
      text += line;
      try { resolve(JSON.parse(text)); } catch { /* The document goes on in the next line. */ }
    });
  });
  const url = said.url;
  const token = readFileSync(join(data, "admin.token"), "utf8").trim();
  const api = async (method, path, body, type = "application/json") => {
    const sent = body === undefined ? undefined : type === "application/json" ? JSON.stringify(body) : body;
    const reply = await fetch(url + path, {
      method, body: sent, headers: {authorization: `Bearer ${token}`, ...(sent === undefined ? {} : {"content-type": type})},
    });
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  await api("PUT", "/api/v1/runtimes/python", readFileSync(need("TIDEGATE_RUNTIME")), "application/wasm");
  const stop = async () => {
    child.removeAllListeners("exit");
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    rmSync(data, {recursive: true, force: true});
  };
  return {url, token, api, stop, link: said.sign_in_url, password: null};
}

/// A headless browser.
export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
}

/// A page that is signed in, and which remembers whatever went wrong in it.
export async function signedIn(browser, host, options = {}) {
  const context = await browser.newContext({
    baseURL: host.url, viewport: {width: 1280, height: 900}, locale: "en-GB", timezoneId: "Europe/Paris", ...options,
  });
  const page = await context.newPage();
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`error: ${error.message}`));
  page.on("console", (line) => {
    // A refused form is an answer like another one.
    // So is one that was not waited for, because the page was left: htmx writes that down.
    const expected = /status of (4\d\d)/.test(line.text()) || /^htmx:(afterRequest|sendAbort),/.test(line.text());
    if (line.type() === "error" && !expected) page.troubles.push(`console: ${line.text()} (${JSON.stringify(line.location())})`);
  });
  if (host.password === null) {
    // As whoever installed the host does: by the link that it printed, and then a password.
    await page.goto(host.link);
    await page.getByRole("button", {name: "Sign in"}).click();
    host.password = "correct horse battery staple";
    await page.getByLabel("New password").fill(host.password);
    await page.getByRole("button", {name: "Set the password"}).click();
    await page.getByText("The password is set.").waitFor();
    await page.goto("/");
  } else {
    await page.goto("/");
    await page.getByLabel("Login").fill("admin");
    await page.getByLabel("Password").fill(host.password);
    await page.getByRole("button", {name: "Sign in"}).click();
  }
  await page.waitForURL("**/workflows");
  return page;
}

/// Replaces what is in the editor by pasting.
export async function paste(page, code) {
  const editor = page.locator(".cm-content");
  await editor.click();
  await page.keyboard.press("ControlOrMeta+a");
  await editor.evaluate((place, text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    place.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
  }, code);
}
