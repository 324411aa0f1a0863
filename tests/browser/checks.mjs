// What holds for every page: no accessibility violation, nothing wider than the screen, the
// navigation's current entry in sight, nothing that failed in the browser.
import assert from "node:assert/strict";
import {readFileSync} from "node:fs";
import {createRequire} from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/// Fails unless the page as it is now passes.
export async function check(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
  }));
  const told = found.violations.map((one) => `${one.id}: ${one.help}\n  ${one.nodes.map((node) => `${node.html}\n    ${node.failureSummary}`).join("\n  ")}`);
  assert.deepEqual(told, [], `${what} has accessibility violations`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `${what} is ${over} pixels wider than the screen`);
  const hidden = await page.evaluate(() => [...document.querySelectorAll(".bar nav [aria-current], .tabs [aria-current]")]
    .filter((entry) => { const {left, right} = entry.getBoundingClientRect(); return left < -1 || right > innerWidth + 1; })
    .map((entry) => entry.textContent));
  assert.deepEqual(hidden, [], `${what} has current entries out of sight`);
  assert.deepEqual(page.troubles, [], `${what} has errors`);
}
