// A screenshot of every page, light, dark and on a phone: `make screenshots`.
import {mkdirSync, readFileSync} from "node:fs";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";
import {signedIn, startBrowser, startHost} from "./host.mjs";

const out = process.argv[2];
const examples = join(dirname(fileURLToPath(import.meta.url)), "../../examples");
const read = (path) => readFileSync(join(examples, path), "utf8");
mkdirSync(out, {recursive: true});

const [host, browser] = await Promise.all([startHost(), startBrowser()]);

// A host as it is after some use.
const deploy = (name, source, message) =>
  host.api("POST", `/api/v1/workflows/${name}/versions?message=${encodeURIComponent(message)}`, source, "text/x-python");
const made = [
  ["new-applications", "catch", "python-catch", "Takes job applications, checks them and says what became of them."],
  ["sms-on-profile", "catch", "sms-on-profile", "Sends a text message to HR when a profile is indexed in a source."],
  ["signed-webhook", "catch", "signed-webhook", "Takes webhooks of HrFlow.ai whose signature is right."],
  ["interview-reminders", "pull", "python-pull", "Looks which interviews come next, and says so once for each."],
  ["sync-to-ats", "pull", "sync-to-ats", "Copies new profiles from HrFlow.ai to an ATS, each exactly once."],
];
for (const [name, kind, folder, description] of made) {
  const schedules = kind === "pull" ? [{name: "regular", every: name === "sync-to-ats" ? "10m" : "2s"}] : [];
  await host.api("POST", "/api/v1/workflows", {name, kind, description, schedules});
  await deploy(name, read(`${folder}/workflow.py`), "First version");
}
await deploy("new-applications", read("python-catch/workflow.py").replace("import json\n", "import json\nimport logging\n"), "Log what is missing");
await host.api("PATCH", "/api/v1/workflows/new-applications/settings", JSON.parse(read("python-catch/settings.json")));
await host.api("PATCH", "/api/v1/workflows/new-applications/settings?visibility=plain", {REGION: "eu-west"});
await host.api("PATCH", "/api/v1/workflows/interview-reminders/settings", JSON.parse(read("python-pull/settings.json")));
await host.api("PATCH", "/api/v1/workflows/signed-webhook", {state: "paused"});
const request = JSON.parse(read("python-catch/request.json"));
const call = async (name, body) => {
  const {url} = await host.api("GET", `/api/v1/workflows/${name}`);
  const reply = await fetch(url, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
  return reply.headers.get("tidegate-run");
};
let good;
for (let at = 0; at < 40; at += 1) good = await call("new-applications", at % 4 ? request.body : {nonsense: at});
good = await call("new-applications", request.body);
await host.api("PUT", "/api/v1/workflows/new-applications/samples/a%20good%20one", request);
await host.api("PATCH", "/api/v1/workflows/new-applications", {
  egress: [{host: "api.hrflow.ai", path_prefix: "/v1", methods: ["GET", "PUT"]}, {host: "*.company.com"}], limits: {deadline_ms: 10000},
});
// Work that is given up.
const {url: endpoint} = await host.api("GET", "/api/v1/workflows/sms-on-profile");
const later = {"content-type": "application/json", prefer: "respond-async"};
for (let at = 0; at < 2; at += 1) {
  await fetch(endpoint, {method: "POST", headers: later, body: JSON.stringify(JSON.parse(read("sms-on-profile/request.json")).body)});
}
while ((await host.api("GET", "/api/v1/dead")).dead.length < 2) await new Promise((resolve) => setImmediate(resolve));
const bad = await call("sms-on-profile", JSON.parse(read("sms-on-profile/request.json")).body);

const pages = {
  "workflows": "/workflows", "create": "/create", "create-pull": "/create/blank-pull",
  "overview-catch": "/workflows/new-applications", "overview-pull": "/workflows/interview-reminders",
  "function": "/workflows/new-applications/function", "settings": "/workflows/new-applications/settings",
  "configuration": "/workflows/new-applications/configuration", "schedule": "/workflows/interview-reminders?edit=regular#schedule",
  "versions": "/workflows/new-applications/versions", "version": "/workflows/new-applications/versions/2",
  "debugger": "/workflows/new-applications/runs", "run": `/runs/${good}`, "run-failed": `/runs/${bad}`,
  "monitoring-workflow": "/workflows/interview-reminders/monitoring?range=15m",
  "runs": "/runs", "dead-letters": "/dead", "monitoring": "/monitoring?range=15m", "host": "/host", "admin": "/admin",
  "users": "/users", "audit-log": "/audit", "account": "/account", "not-found": "/nothing-here",
};
const looks = {light: {}, dark: {colorScheme: "dark"}, phone: {viewport: {width: 390, height: 844}, hasTouch: true}};
for (const [look, options] of Object.entries(looks)) {
  const page = await signedIn(browser, host, options);
  for (const [name, path] of Object.entries(pages)) {
    await page.goto(path);
    await page.locator("main").waitFor();
    if (path.includes("monitoring")) await page.locator(".chart canvas").first().waitFor();
    if (name === "function") await page.locator(".cm-content").waitFor();
    await page.screenshot({path: join(out, `${name}-${look}.png`), fullPage: true});
  }
  await page.getByRole("link", {name: "Back to the workflows"}).click();
  await page.getByRole("button", {name: "Sign out"}).click();
  await page.getByLabel("Login").waitFor();
  await page.screenshot({path: join(out, `sign-in-${look}.png`)});
  await page.context().close();
}
await browser.close();
await host.stop();
