// How smooth the console is with thousands of groups, in the build that people get. test/bench starts a controller for it:
// UNDERSTUDY_URL and UNDERSTUDY_BOOTSTRAP, its one-time token. It prints rows of the bench as JSON, and leaves pictures in
// test/screens. The machine may be slow and busy, so each figure is held against the same on an empty page just before.
import { launch, open } from './browser.mjs';
import { makeAdministrator, screens, url } from './person.mjs';

const groups = 5000;
const wanted = 'app-0123';
const found = 10;
/** Pixels a frame: a fast flick of the wheel. */
const step = 240;

/** Scrolls to the end of what is there, or of what comes, and returns the gaps between frames and the long tasks. */
function scroll({ step, last, most }) {
  return new Promise((done, fail) => {
    const gaps = [];
    const tasks = [];
    const seen = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((e) => e.duration)));
    seen.observe({ entryTypes: ['longtask'] });
    const began = performance.now();
    let before = began;
    const frame = (now) => {
      gaps.push(now - before);
      before = now;
      const end = window.scrollY + window.innerHeight >= document.documentElement.scrollHeight - 2;
      if (end && (!last || document.querySelector(`[aria-rowindex="${last}"]`))) {
        seen.disconnect();
        done({ gaps: gaps.slice(1), tasks, took: now - began });
      } else if (now - began > most) fail(new Error(`the end was not reached in ${most} ms`));
      else {
        window.scrollBy(0, step);
        requestAnimationFrame(frame);
      }
    };
    requestAnimationFrame(frame);
  });
}

/** Notes when keys were pressed and when the frame after each was drawn. */
function watchKeys() {
  const keys = (window.keysPressed = []);
  window.addEventListener('keydown', () => {
    const key = { at: performance.now() };
    keys.push(key);
    requestAnimationFrame(() => setTimeout(() => (key.drawn = performance.now()), 0));
  }, true);
}

const keys = (page) => page.evaluate(() => window.keysPressed.map((k) => k.drawn - k.at));
const at = (list, share) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))];

const rows = [];
/** A row of the bench: a figure, what it was held against in the same run, and at most how many times that it may be. */
function row(name, value, against, reference, most) {
  const ratio = value / reference;
  const text = `${against}: ${reference.toFixed(0)}`;
  rows.push({ name: `console, 5,000 groups: ${name}`, value, unit: 'ms', against: text, ratio, target: `at most ${most}`, ok: ratio <= most });
}

/** The same on a page with nothing on it but its height and a field. */
async function measureEmpty(browser) {
  const { page, close } = await open(browser, {});
  await page.setContent(`<input aria-label="x"><div style="height:${groups * 52}px"></div>`);
  const scrolled = await page.evaluate(scroll, { step, last: 0, most: 120_000 });
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.evaluate(watchKeys);
  await page.getByLabel('x').focus();
  await page.keyboard.type(wanted, { delay: 80 });
  await page.waitForTimeout(300);
  const typed = await keys(page);
  await close();
  return { scrolled, typed };
}

async function measureList(browser, session, path, empty) {
  const name = path.slice(1);
  const { page, close, faults } = await open(browser, { url, storageState: session });
  page.setDefaultTimeout(60_000);
  await page.goto(path);
  await page.waitForSelector('.rows .fact');
  const scrolled = await page.evaluate(scroll, { step, last: groups + 1, most: 240_000 });
  row(`${name}, frames while scrolling through all, p95`, at(scrolled.gaps, 0.95), 'an empty page', Math.max(at(empty.scrolled.gaps, 0.95), 17), 4);
  row(`${name}, the longest frame`, Math.max(...scrolled.gaps), 'an empty page', Math.max(Math.max(...empty.scrolled.gaps), 100), 4);
  row(`${name}, the longest task of script`, Math.max(0, ...scrolled.tasks), 'a tenth of a second', 100, 3);

  // What is shown of a filter takes the answer, and the pause that a person makes between words.
  await page.evaluate(() => window.scrollTo(0, 0));
  const asked = await page.evaluate(async (path) => {
    const took = [];
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      await (await fetch(path)).json();
      took.push(performance.now() - began);
    }
    return took;
  }, `/v1/${name === 'groups' ? 'status' : name}?q=${wanted}&limit=200`);
  await page.evaluate(watchKeys);
  await page.getByRole('searchbox').first().focus();
  const shown = page.waitForFunction((count) => document.querySelector('[role=table]')?.getAttribute('aria-rowcount') === String(count) && performance.now(), found + 1);
  await page.keyboard.type(wanted, { delay: 80 });
  const end = await (await shown).jsonValue();
  const last = await page.evaluate(() => window.keysPressed.at(-1).at);
  await page.waitForTimeout(200);
  row(`${name}, from a key to its letter, p95`, at(await keys(page), 0.95), 'an empty page', Math.max(at(empty.typed, 0.95), 17), 5);
  row(`${name}, from the last key to the rows`, end - last, 'pause of 250 and the answer', 250 + at(asked, 0.5), 2);
  for (const f of faults) throw new Error(`${path}: ${f}`);
  await close();
}

/** The first paint and the content of a page in a browser that has nothing of it, the middle of three, against the page that asks who one is. */
async function measureFirst(browser, session, path, see, name) {
  const painted = [];
  const there = [];
  const asking = [];
  for (let i = 0; i < 3; i++) {
    const plain = await open(browser, { url });
    await plain.page.goto('/', { waitUntil: 'commit' });
    await plain.page.getByLabel('User').waitFor();
    asking.push(await plain.page.evaluate(() => performance.now()));
    await plain.close();
    const { page, close } = await open(browser, { url, storageState: session });
    await page.goto(path, { waitUntil: 'commit' });
    await page.waitForSelector(see);
    there.push(await page.evaluate(() => performance.now()));
    painted.push(await firstPaint(page));
    await close();
  }
  row(`${name}, first contentful paint, cold`, at(painted, 0.5), 'the page to sign in', at(asking, 0.5), 2);
  row(`${name}, until its content is there, cold`, at(there, 0.5), 'the page to sign in', at(asking, 0.5), 4);
}

const firstPaint = (page) =>
  page.evaluate(
    () =>
      new Promise((done) => {
        new PerformanceObserver((list) => {
          const entry = list.getEntries().find((e) => e.name === 'first-contentful-paint');
          if (entry) done(entry.startTime);
        }).observe({ type: 'paint', buffered: true });
        setTimeout(() => done(performance.now()), 5000);
      }),
  );

async function pictures(browser, session) {
  for (const look of [{ as: 'light' }, { as: '375', width: 375, height: 800 }]) {
    const { page, close } = await open(browser, { url, ...look, storageState: session });
    page.setDefaultTimeout(60_000);
    for (const [name, path, see] of [['overview', '/', '.bar'], ['groups', '/groups', '.rows .fact'], ['machines', '/machines', '.rows .fact']]) {
      await page.goto(path);
      await page.waitForSelector(see);
      await page.screenshot({ path: `${screens}load-${name}-${look.as}.png` });
    }
    await close();
  }
}

const browser = await launch();
try {
  const first = await open(browser, { url });
  await first.page.goto('/');
  await makeAdministrator(first.page);
  const session = await first.page.context().storageState();
  await first.close();
  await pictures(browser, session);
  await measureFirst(browser, session, '/', '.bar', 'overview');
  await measureFirst(browser, session, '/groups', '.rows .fact', 'groups');
  for (const path of ['/groups', '/machines']) await measureList(browser, session, path, await measureEmpty(browser));
} finally {
  await browser.close();
}
console.log(JSON.stringify(rows));
