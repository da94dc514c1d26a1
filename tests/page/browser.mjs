// Looks at pages in headless Chromium: node browser.mjs SCREENS PAGE...
// Every check that fails is told, and the exit code is 1 if one did.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [screens, ...pages] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const failures = [];
const check = (is, what) => { if (!is) { failures.push(what); console.log(`FAILED  ${what}`); } };

// Chromium has no sandbox for root, as in containers; pages are our own.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

// A page in one setting, with everything that it says and asks for.
const open = async (file, options) => {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  const page = await context.newPage();
  const heard = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) heard.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => heard.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { heard.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  const address = pathToFileURL(resolve(file)).href;
  page.on("request", (request) => {
    if (request.url() !== address && !request.url().startsWith("data:")) heard.push(`request: ${request.url()}`);
  });
  await page.goto(address);
  if (options.javaScriptEnabled !== false) await page.waitForSelector("html[data-ready]", { timeout: 20000 });
  return { context, page, heard };
};

// axe-core's faults that keep people out.
const faults = async (page, where) => {
  await page.evaluate(axe);
  const result = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of result.violations) {
    if (["serious", "critical"].includes(impact)) check(false, `${where}: axe ${impact} ${id}: ${help}: ${nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    else console.log(`note    ${where}: axe ${impact} ${id}: ${help} (${nodes.length})`);
  }
};

const desktop = { viewport: { width: 1280, height: 900 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

for (const file of pages) {
  const name = basename(file, ".html");
  const shot = (page, kind) => page.screenshot({ path: `${screens}/${name}-${kind}.png`, fullPage: true });

  const { context, page, heard } = await open(file, { ...desktop, colorScheme: "light" });
  await shot(page, "desktop");
  await faults(page, `${name}, desktop`);
  const info = () => page.locator("#browser .dt-info").innerText();
  const count = async () => Number(((await info()).match(/of ([\d,]+)/) ?? [0, "0"])[1].replace(/,/g, ""));
  if (await page.locator("#rows").count()) {
    const all = await count();
    check(all > 0, `${name}: the table of answers is empty`);
    const first = page.locator("#rows tbody tr").first();
    const question = (await first.locator("td").nth(1).innerText()).trim();
    await page.locator("#browser .dt-search input").fill(question.slice(0, 40));
    check((await count()) > 0 && (await first.innerText()).includes(question.slice(0, 20)), `${name}: search does not find a question`);
    await page.locator("#browser .dt-search input").fill("no such words anywhere");
    check((await info()).includes("no answer fits"), `${name}: search finds what is not there: ${await info()}`);
    await page.locator("#browser .dt-search input").fill("");
    check((await count()) === all, `${name}: an empty search does not show all`);
    for (const id of ["by-point", "by-set", "by-kind"]) {
      const options = await page.locator(`#${id} option`).evaluateAll((all) => all.map((one) => one.value).filter(Boolean));
      let sum = 0;
      for (const option of options) {
        await page.selectOption(`#${id}`, option);
        sum += await count();
      }
      await page.selectOption(`#${id}`, "");
      if (id !== "by-kind") check(sum === all, `${name}: the parts of ${id} are ${sum} answers and not ${all}`);
      else check(options.length === 4, `${name}: there are ${options.length} kinds`);
    }
    await page.selectOption("#by-kind", "flipped");
const unmarked = await page.locator("#rows tbody tr").evaluateAll((rows) => rows.filter((row) => !row.querySelector(".flip")).length);
    check(unmarked === 0, `${name}: ${unmarked} flips are not marked`);
    await page.selectOption("#by-kind", "");
    const folded = page.locator("#rows details");
    if (await folded.count()) {
      check(!(await folded.first().evaluate((fold) => fold.open)), `${name}: answers are not folded`);
      await page.locator("#unfold").check();
      check(await folded.first().evaluate((fold) => fold.open), `${name}: answers do not unfold`);
      await page.locator("#browser").screenshot({ path: `${screens}/${name}-answers.png` });
      await faults(page, `${name}, unfolded`);
    }
  }
  if (await page.locator("button[data-save]").count()) {
    for (const [kind, begins] of [["svg", "<svg "], ["png", "\u0089PNG"]]) {
      const waiting = page.waitForEvent("download");
      await page.locator(`button[data-save=${kind}]`).first().click();
      const saved = await readFile(await (await waiting).path(), "latin1");
      check(saved.startsWith(begins) && saved.length > 500, `${name}: a figure saved as ${kind} begins with ${saved.slice(0, 8)}`);
    }
  }
  check(heard.length === 0, `${name}, desktop: ${heard.slice(0, 5).join("; ")}`);
  await context.close();

  for (const [kind, options] of [
    ["phone", { ...phone, colorScheme: "light" }],
    ["dark", { ...desktop, colorScheme: "dark" }],
    ["plain", { ...desktop, colorScheme: "light", javaScriptEnabled: false }],
  ]) {
    const view = await open(file, options);
    await shot(view.page, kind);
    if (kind !== "plain") {
      await faults(view.page, `${name}, ${kind}`);
      const [wide, room] = await view.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      check(wide <= room, `${name}, ${kind}: the page is ${wide} pixels wide in ${room}`);
    }
    check(view.heard.length === 0, `${name}, ${kind}: ${view.heard.slice(0, 5).join("; ")}`);
    await view.context.close();
  }

  const paper = await open(file, { ...desktop, colorScheme: "dark" });
  await paper.page.emulateMedia({ media: "print", colorScheme: "dark" });
  await shot(paper.page, "print");
  await paper.page.pdf({ path: `${screens}/${name}.pdf`, format: "A4", margin: { top: "15mm", bottom: "15mm", left: "14mm", right: "14mm" } });
  await paper.context.close();
  console.log(`looked  ${name}`);
}
await browser.close();
if (failures.length) {
  console.log(`${failures.length} checks failed`);
  process.exit(1);
}
