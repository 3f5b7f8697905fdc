// Drives a browser over the shop page of examples/web, as a visitor would, and prints what it saw as JSON.
//
//   node shop.mjs ADDRESS BROWSER [FOLDER]
//
// ADDRESS is the page's, BROWSER the program to run; pictures go to FOLDER where one is given.
import { chromium } from "playwright-core";

const [address, executablePath, folder] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
FLAGS.push("--disable-component-update", "--disable-sync");

const browser = await chromium.launch({ executablePath, args: FLAGS });
const told = {};
for (const language of ["en", "fr"]) told[language] = await visit(language);
await browser.close();
console.log(JSON.stringify(told));

async function visit(language) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 960 } });
  const page = await context.newPage();
  const seen = { console: [], asked: [], events: 0 };
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.console.push(String(error)));
  page.on("request", (one) => {
    seen.asked.push(`${one.method()} ${one.url()}`);
    if (one.method() === "POST" && one.url().endsWith("/v1/events")) seen.events += 1;
  });
  const told = {};

  await page.goto(`${address}/?lang=${language}`, { waitUntil: "networkidle" });
  told.first = await state(page, context, seen);
  told.buttons = await page.locator("#banner .buttons button").evaluateAll((found) =>
    found.map((one) => {
      const [box, style] = [one.getBoundingClientRect(), getComputedStyle(one)];
      const look = ["color", "backgroundColor", "borderTopColor", "fontSize", "fontWeight", "opacity"];
      return { width: box.width, height: box.height, top: box.top, look: look.map((name) => style[name]) };
    }),
  );
  await choose(page, 0);
  told.refused = await state(page, context, seen);
  await page.reload({ waitUntil: "networkidle" });
  told.cameBack = await state(page, context, seen);
  await page.locator("footer button").click();
  await choose(page, 1);
  await page.waitForFunction(() => document.getElementById("payload").textContent);
  told.accepted = await state(page, context, seen);
  await page.locator("footer button").click();
  if (folder) await page.screenshot({ path: `${folder}/shop-${language}.png` });
  await choose(page, 0);
  told.withdrawn = await state(page, context, seen);
  await page.reload({ waitUntil: "networkidle" });
  told.withdrawnCameBack = await state(page, context, seen);
  await context.close();
  return { ...told, console: seen.console, asked: [...new Set(seen.asked)] };
}

async function choose(page, which) {
  const again = page.waitForEvent("load");
  await page.locator("#banner .buttons button").nth(which).click();
  await again;
  await page.waitForLoadState("networkidle");
}

async function state(page, context, seen) {
  const shown = await page.evaluate(() => ({
    lang: document.documentElement.lang,
    banner: document.getElementById("banner").matches(":popover-open"),
    offer: document.getElementById("offer").innerText.trim(),
    payload: document.getElementById("payload").textContent,
    event: document.getElementById("event").textContent,
    stored: localStorage.length + sessionStorage.length,
    readable: document.cookie,
  }));
  return { ...shown, cookies: await context.cookies(), events: seen.events };
}
