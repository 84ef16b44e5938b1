// Debian's Chromium, and what every page is held to: no error on the console, nothing that axe finds.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The browser, with a profile of its own that goes with it. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A tab, whose console's errors are gathered in `faults`. */
export async function open(browser, { url, width = 1280, height = 900, dark = false, language = 'en', storageState, selfSigned = false } = {}) {
  const context = await browser.newContext({
    baseURL: url,
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    locale: { en: 'en-GB', ja: 'ja-JP', fr: 'fr-FR' }[language],
    timezoneId: 'Europe/Paris',
    reducedMotion: 'reduce',
    storageState,
    ignoreHTTPSErrors: selfSigned,
  });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (m) => {
    if (m.type() === 'error') faults.push(`console: ${m.text()} (${m.location().url})`);
  });
  page.on('pageerror', (e) => faults.push(`script: ${e.message}`));
  return { page, faults, close: () => context.close() };
}

/** What axe finds against WCAG 2.1 AA. Run through the debugger, since the page's policy allows no foreign script. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }));
  return found.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${n.target.join(' ')} ${n.failureSummary?.split('\n')[1]?.trim() ?? ''}`));
}

/** Whether a page is wider than the window. */
export function overflows(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth + 1);
}
