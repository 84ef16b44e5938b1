// Goes through the console of a real controller, which test/console starts: UNDERSTUDY_URL and UNDERSTUDY_BOOTSTRAP, its one-time
// token. Every page is held to the rules of browser.mjs in light, dark and 375 px, and its pictures are left in test/screens.
// A page of its own is one line in `visits`; what a person does on pages is below.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { launch, open } from './browser.mjs';
import { conclude, fault, hold, makeAdministrator, screens, signIn, url } from './person.mjs';

/** Pages, and what shows that they are all there. The group is shop. */
const visits = [
  { name: 'overview', path: '/', see: '.bar' },
  { name: 'groups', path: '/groups', see: '.rows .fact' },
  { name: 'machines', path: '/machines', see: '.rows .fact' },
  { name: 'machine', path: '/machines/east/shop-db', see: 'main table' },
  { name: 'group', path: '/groups/shop', see: '.uplot' },
  { name: 'points', path: '/groups/shop/points', see: '.timeline circle' },
  { name: 'points foreseen', path: '/groups/shop/points?in=7d', see: '[aria-live=polite]' },
  { name: 'runs', path: '/runs', see: 'main h1' },
  { name: 'plans', path: '/plans', see: 'main .cli, main table' },
  { name: 'plan new', path: '/plans/new?group=shop', see: '.flow-item' },
  { name: 'failover', path: '/failover/shop', see: '[role=radio]' },
  { name: 'sites', path: '/sites', see: '.flow-item' },
  { name: 'site', path: '/sites/east', see: 'table' },
  { name: 'policies', path: '/policies', see: 'table' },
  { name: 'extensions', path: '/extensions', see: 'main h1' },
  { name: 'monitors', path: '/monitors', see: 'main h1' },
  { name: 'activity', path: '/activity', see: 'main table, main p.dim' },
  { name: 'audit', path: '/activity?show=audit', see: 'table' },
  { name: 'notifications', path: '/settings', see: '[role=tabpanel] section' },
  { name: 'users', path: '/settings?tab=people', see: '[role=tabpanel] table' },
  { name: 'tokens', path: '/settings?tab=tokens', see: '[role=tabpanel] section' },
  { name: 'approvals', path: '/settings?tab=approvals', see: '[role=tabpanel] section' },
];

const browser = await launch();
try {
  const tab = await open(browser, { url });
  const { page } = tab;
  page.setDefaultTimeout(60_000);

  await page.goto('/');
  await page.getByRole('heading', { name: 'Make the first administrator' }).waitFor();
  await hold(tab, 'bootstrap');
  await makeAdministrator(page);

  // Every page, in every look. The session is the browser's.
  const session = await page.context().storageState();
  for (const look of [{ as: 'light' }, { as: 'dark', dark: true }, { as: '375', width: 375, height: 800 }]) {
    const each = await open(browser, { url, ...look, storageState: session });
    each.page.setDefaultTimeout(60_000);
    for (const v of visits) {
      await each.page.goto(v.path);
      await each.page.waitForSelector(v.see);
      await hold(each, `${v.name} ${look.as}`);
    }
    await each.close();
  }

  // A point is named, and the name taken away, by keyboard as far as the timeline goes.
  await page.goto('/groups/shop/points');
  await page.getByRole('slider').focus();
  await page.keyboard.press('Home');
  await page.getByRole('button', { name: 'Name it' }).click();
  await page.getByRole('dialog').getByRole('textbox', { name: /^Name/ }).fill('Not a name!');
  await page.getByRole('dialog').getByRole('button', { name: 'Name it' }).click();
  await page.getByRole('alert').waitFor(); // says what is wrong with it
  tab.faults.length = 0; // the browser writes the refusal to its console
  await page.getByRole('dialog').getByRole('textbox', { name: /^Name/ }).fill('before-upgrade');
  await page.getByRole('dialog').getByRole('button', { name: 'Name it' }).click();
  await page.getByRole('table').getByText('before-upgrade').waitFor();
  await hold(tab, 'points named');

  // A disk is taken back as a file, which holds what was on it.
  await page.getByRole('button', { name: 'Restore a disk' }).click();
  await page.getByRole('dialog').getByLabel('Disk').selectOption('shop-db/shop-db');
  await page.getByRole('dialog').getByLabel('Format').selectOption('raw');
  await hold(tab, 'point restore');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('dialog').getByRole('button', { name: 'Download' }).click()]);
  assert.match(download.suggestedFilename(), /^shop-db-shop-db-.*\.raw$/);
  assert.ok(readFileSync(await download.path()).equals(readFileSync(process.env.UNDERSTUDY_DISK)), 'other bytes than on the disk');

  // A disk is served for a while, and that is ended before its time.
  await page.getByRole('button', { name: 'Look inside' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Serve it' }).click();
  await page.getByRole('dialog').getByText('nbd-client').waitFor();
  await hold(tab, 'point mounted');
  await page.getByRole('dialog').getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'End it' }).click();
  await page.getByRole('button', { name: 'End it' }).waitFor({ state: 'detached' });

  // What is done on one page is seen there without loading it again.
  await page.goto('/groups/shop');
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await page.locator('.fact', { hasText: 'Paused' }).waitFor();
  await hold(tab, 'group paused');
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.locator('.fact', { hasText: 'Paused' }).waitFor({ state: 'detached' });

  // What another does is seen by the stream: nothing here asks for it.
  await page.goto('/groups');
  await page.waitForSelector('.rows .fact');
  await page.evaluate(() => fetch('/v1/groups/shop/pause', { method: 'POST' }));
  await page.locator('.fact', { hasText: 'Paused' }).waitFor({ timeout: 8_000 });
  await page.evaluate(() => fetch('/v1/groups/shop/resume', { method: 'POST' }));

  // While the controller cannot be reached nothing is green.
  await page.goto('/');
  await page.waitForSelector('.bar');
  tab.faults.length = 0;
  await page.context().setOffline(true);
  await page.getByText('The controller cannot be reached since').waitFor();
  assert.equal(await page.locator('.fact.good, .bg-good, .good').count(), 0, 'green while nothing is known');
  await page.screenshot({ path: `${screens}real-unreachable.png` });
  await page.context().setOffline(false);
  await page.getByText('The controller cannot be reached since').waitFor({ state: 'detached' });
  tab.faults.length = 0;

  // Languages and the way out, and in again.
  await page.getByRole('button', { name: 'Language' }).click();
  await page.getByRole('menuitem', { name: '日本語' }).click();
  await page.getByRole('heading', { name: '概要' }).waitFor();
  await hold(tab, 'overview ja');
  await page.getByRole('button', { name: '言語' }).click();
  await page.getByRole('menuitem', { name: 'English' }).click();
  await page.getByRole('button', { name: 'Signed in as aiko' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await hold(tab, 'login');
  await signIn(page);

  // Without script there is still an answer.
  const plain = await open(browser, { url, storageState: await page.context().storageState() });
  await plain.page.goto('/status');
  await plain.page.getByRole('cell', { name: 'shop', exact: true }).waitFor();
  await hold(plain, 'status');
} catch (err) {
  fault('went wrong', err.message);
} finally {
  await browser.close();
}
conclude(`${visits.length} pages: nothing found, pictures in web/test/screens`);
