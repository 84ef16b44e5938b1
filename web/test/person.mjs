// What a person does on every controller: becomes its administrator, signs in, and looks closely at each page.
import { mkdirSync } from 'node:fs';
import { overflows, violations } from './browser.mjs';

/** The controller, which test/console starts. */
export const url = process.env.UNDERSTUDY_URL;
const token = process.env.UNDERSTUDY_BOOTSTRAP;
const password = 'correct horse battery';

export const screens = new URL('screens/', import.meta.url).pathname;
mkdirSync(screens, { recursive: true });

const faults = [];
export const fault = (where, what) => faults.push(`${where}: ${what}`);
/** Refusals that are part of how things go: who is not signed in, and a question that was answered meanwhile. */
const expected = (f) => /status of 40[13].*\/v1\/session|status of 404.*\/question/.test(f);

/** Holds a page to the rules of browser.mjs, and leaves its picture in test/screens. */
export async function hold(tab, where, { full = false } = {}) {
  for (const f of tab.faults.splice(0)) if (!expected(f)) fault(where, f);
  for (const v of await violations(tab.page)) fault(where, v);
  if (await overflows(tab.page)) fault(where, 'wider than the window');
  await tab.page.screenshot({ path: `${screens}real-${where.replaceAll(' ', '-')}.png`, fullPage: full });
}

/** Where a picture goes that the project's pages show: only into UNDERSTUDY_IMAGES, when that is set, so that a test changes nothing. */
export function picture(name) {
  return `${process.env.UNDERSTUDY_IMAGES ? `${process.env.UNDERSTUDY_IMAGES}/` : screens}${name}.png`;
}

/** Makes the first administrator, with the one-time token. */
export async function makeAdministrator(page) {
  await page.getByLabel('One-time token').fill(token);
  await page.getByLabel('User').fill('aiko');
  await page.getByRole('textbox', { name: 'Password' }).fill(password);
  await page.getByRole('button', { name: 'Make administrator' }).click();
  await page.getByRole('button', { name: 'Signed in as aiko' }).waitFor();
}

export async function signIn(page, user = 'aiko') {
  await page.getByLabel('User').fill(user);
  await page.getByRole('textbox', { name: 'Password' }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: `Signed in as ${user}` }).waitFor();
}

/** Says what was found, and ends with that. */
export function conclude(fine) {
  for (const f of faults) console.log(f);
  console.log(faults.length ? `${faults.length} faults` : fine);
  process.exit(faults.length ? 1 : 0);
}
