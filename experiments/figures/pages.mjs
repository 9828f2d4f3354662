// Takes pictures of the page of `affjax app` and of a report page in headless Chromium.
// node pages.mjs ADDRESS FOLDER CHROMIUM APP.png REPORT.png
// FOLDER is that of the app's results. Needs `npm install playwright-core`, found by NODE_PATH or from this folder.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const [address, folder, browserPath, appPicture, reportPicture] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: browserPath, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
  page.setDefaultTimeout(600000);
  await page.goto(address);
  await page.locator("#example").click();
  await page.waitForSelector('#jobs li[data-state="done"]');
  await page.waitForSelector('.stage[data-drawn="yes"]');
  await page.locator(".side > .pills button", { hasText: "Expression" }).click();
  await page.locator(".panel:not([hidden]) button", { hasText: "Surprise" }).click();
  await page.mouse.move(5, 5);
  await page.waitForTimeout(1000);
  await page.screenshot({ path: appPicture });

  const [key] = fs.readdirSync(folder).filter(name => !name.startsWith("."));
  await page.setViewportSize({ width: 1280, height: 1100 });
  await page.goto(pathToFileURL(path.join(folder, key, "heads", "index.html")).href);
  await page.waitForSelector('.stage[data-drawn="yes"]');
  await page.waitForTimeout(1000);
  await page.screenshot({ path: reportPicture });
} finally {
  await browser.close();
}
