// Drives a browser over the preference page, as a person would, and prints what it measured as JSON.
//
//   node look.mjs ADDRESS BROWSER KEY [FOLDER]
//
// ADDRESS is a worker's own, BROWSER the program to run, KEY a publishable key; pictures go to FOLDER where one is given.
// JavaScript is off in every page. axe-core alone runs, in a context of its own and over the very same page.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [address, executablePath, key, folder] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENS = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 900 } };
// 200 % zoom halves how many CSS pixels a window of 1280 has.
const NARROW = { zoomed: { width: 640, height: 450 }, narrowest: { width: 320, height: 568 } };
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
FLAGS.push("--disable-component-update", "--disable-sync");

const browser = await chromium.launch({ executablePath, args: FLAGS });
const told = {};
for (const language of ["en", "fr"])
  for (const [screen, viewport] of Object.entries(SCREENS))
    told[`${language}-${screen}`] = await visit(language, screen, viewport);
await browser.close();
console.log(JSON.stringify(told));

async function visit(language, screen, viewport) {
  const context = await browser.newContext({ viewport, javaScriptEnabled: false });
  const page = await context.newPage();
  const said = [];
  const asked = new Set();
  page.on("console", (message) => said.push(message.text()));
  page.on("request", (request) => asked.add(request.url()));
  const here = `${address}/preferences?lang=${language}`;
  const found = { pages: {} };

  await page.goto(here);
  found.first = await measured(page);
  found.pages.first = await inspected(page, context);

  found.refused = await pressed(page, "button[form=refuse]");
  found.cookiesOfARefusal = (await context.cookies()).map((one) => one.name);
  await page.goto(here);
  found.accepted = await pressed(page, "button[form=accept]");
  found.cookiesOfAGrant = (await context.cookies()).map((one) => one.name);
  found.afterwards = await measured(page);

  await lived(context);
  await page.goto(here);
  await followed(page, page.locator("button[name=tell]").first());
  found.told = await page.locator("button[name=untell]").count();
  await page.locator("#purpose-improve").setChecked(false);
  found.saved = await pressed(page, "button.save");
  await page.goto(here);
  found.pages.lived = await inspected(page, context);
  if (folder) await page.screenshot({ path: `${folder}/preferences-${language}-${screen}.png`, fullPage: true });
  await page.locator("summary").first().click();
  found.opened = await page.locator("details[open]").count();

  await followed(page, page.locator("#rights a[href*=erasure]"));
  found.pages.question = await inspected(page, context);
  found.erased = await pressed(page, "button[name=sure]");
  found.cookiesAfterErasure = (await context.cookies()).map((one) => one.name);

  await page.goto(here);
  await page.locator("#purpose-history").focus();
  await page.keyboard.press("Space");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  found.entered = { ticked: await page.locator("#choice input:checked").count(), address: page.url() };
  found.keyboard = await walked(page);
  Object.assign(found, { said: [...said], asked: [...asked] });
  found.foreign = await fromElsewhere(page, context);
  await page.goto(`${address}/preferences/erasure?lang=${language}`);
  found.pages.nobody = await inspected(page, context);
  found.pages.refusal = await inspected(page, context, { "Entrenous-Token": "none" });
  await context.close();
  return found;
}

// A few views and two answers, by the routes that a shop's page calls.
async function lived(context) {
  const cookie = (await context.cookies()).map((one) => `${one.name}=${one.value}`).join("; ");
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", Cookie: cookie, Origin: address };
  const send = (path, body) => fetch(address + path, { method: "POST", headers, body: JSON.stringify(body) });
  const looked = ["boots", "boots", "bags"].map((category) => ({ name: "view_item", category }));
  const bought = { name: "purchase", category: "boots", value: 12900, currency: "EUR" };
  await send("/v1/events", { events: [...looked, bought] });
  await send("/v1/decide", { decisions: ["promotion"] });
  await send("/v1/decide", { decisions: ["promotion"] });
}

// Every control is reached by the tab key, in the page's order, and shows that it is.
async function walked(page) {
  const controls = "a[href], button, input:not([type=hidden]), summary";
  const every = await page.locator(controls).count();
  const reached = new Set();
  const unmarked = [];
  await page.locator("body").evaluate((body) => body.ownerDocument.activeElement.blur());
  for (let i = 0; i < 2 * every + 5; i++) {
    await page.keyboard.press("Tab");
    const told = await page.locator(":focus").evaluateAll((some) => some.map((one) => {
      const style = getComputedStyle(one);
      return { html: one.outerHTML.slice(0, 120), shown: style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2 };
    }));
    for (const { html, shown } of told) {
      reached.add(html);
      if (!shown) unmarked.push(html);
    }
  }
  const all = await page.locator(controls).evaluateAll((some) => some.map((one) => one.outerHTML.slice(0, 120)));
  return { missed: all.filter((one) => !reached.has(one)), unmarked };
}

// A page of another origin that sends the very form which accepts everything.
async function fromElsewhere(page, context) {
  const form = `<form method=post action="${address}/preferences/choice"><input name=do value=accept><input name=policy value=1>`;
  const server = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(`${form}<button>x</button></form>`));
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  await context.clearCookies();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const answer = await followed(page, page.locator("button"));
  const told = { status: answer.status() };
  await page.goto(`${address}/preferences`);
  server.close();
  return { ...told, ticked: await page.locator("#choice input:checked").count() };
}

// A click alone does not wait for the page it leads to, and a count would be of the one before.
async function followed(page, control) {
  const [answer] = await Promise.all([page.waitForNavigation(), control.click()]);
  return answer;
}

async function pressed(page, button) {
  await followed(page, page.locator(button));
  const ticked = await page.locator("#choice input:checked").count();
  return { notice: await page.locator(".notice").innerText(), ticked, address: page.url() };
}

// What a person sees of the three buttons, and whether anything is ticked.
async function measured(page) {
  const buttons = {};
  for (const [name, selector] of [
    ["accept", "button[form=accept]"],
    ["refuse", "button[form=refuse]"],
    ["save", "button.save"],
  ])
    buttons[name] = await page.locator(selector).evaluate((button) => {
      const box = button.getBoundingClientRect();
      const style = getComputedStyle(button);
      const { color, backgroundColor, fontSize, fontWeight, borderColor, borderWidth, opacity } = style;
      const look = { color, backgroundColor, fontSize, fontWeight, borderColor, borderWidth, opacity };
      const range = document.createRange();
      range.selectNodeContents(button);
      const lines = new Set([...range.getClientRects()].map((one) => one.top)).size;
      return { width: box.width, height: box.height, top: box.top + scrollY, lines, look };
    });
  return { buttons, ticked: await page.locator("input:checked").count(), scripts: await page.locator("script").count() };
}

// What axe finds, in daylight and at night, and how far anything stands out sideways at four widths.
async function inspected(page, context, extraHTTPHeaders = {}) {
  const address = page.url();
  const storageState = await context.storageState();
  const own = await browser.newContext({ viewport: page.viewportSize(), storageState, extraHTTPHeaders });
  const copy = await own.newPage();
  const violations = {};
  const unsure = {};
  for (const colorScheme of ["light", "dark"]) {
    await copy.emulateMedia({ colorScheme });
    await copy.goto(address);
    await copy.evaluate(axe);
    const { violations: some, incomplete } = await copy.evaluate(() => globalThis.axe.run());
    violations[colorScheme] = some.map((one) => `${one.id}: ${one.nodes[0].html}`);
    unsure[colorScheme] = incomplete.map((one) => `${one.id}: ${one.nodes[0].html}`);
  }
  const out = {};
  for (const [name, viewport] of Object.entries({ ...SCREENS, ...NARROW })) {
    await copy.setViewportSize(viewport);
    out[name] = await copy.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }
  await own.close();
  return { address, violations, unsure, out };
}
