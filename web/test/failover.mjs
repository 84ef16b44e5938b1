// Plays the demonstration in the console, on real machines, as the person on call would: mends the plan, rehearses, loses the site,
// fails over by the wizard, approves, looks at what happened, and commits. test/console starts it with `understudy demo console`
// and does what the lines on standard output say: `kill` ends site east.
import assert from 'node:assert/strict';
import { launch, open } from './browser.mjs';
import { conclude, fault, hold, makeAdministrator, picture, screens, url } from './person.mjs';

/** Machines boot under emulation, on whatever else this computer does. */
const bootTime = 4 * 60_000;

const approval = `before:
  - name: go ahead
    approval: {message: "Is east really lost?"}
    when: {kinds: [planned, unplanned]}
`;

const browser = await launch();
const tab = await open(browser, { url });
const { page } = tab;
try {
  page.setDefaultTimeout(60_000);
  const button = (name) => page.getByRole('button', { name, exact: true });

  await page.goto('/');
  await makeAdministrator(page);
  await page.waitForSelector('.bar');

  // The plan is given an approval. A slip is named by its place before anything is saved.
  await page.goto('/plans/shop');
  await button('Edit').click();
  const text = page.getByRole('textbox', { name: 'The plan in YAML' });
  const before = await text.inputValue();
  await text.fill(before.replace('shop-web]', 'shop-wbe]').replace('stages:', `${approval}stages:`));
  await page.getByText(/^line 8, column \d+:/).first().waitFor();
  assert.ok(await button('Save').isDisabled(), 'a plan with a fault can be saved');
  await hold(tab, 'plan faulty');
  await text.fill(before.replace('stages:', `${approval}stages:`));
  await page.getByText('No fault found').waitFor();
  await page.locator('.flow-item', { hasText: 'go ahead' }).waitFor();
  await button('Save').click();
  await page.getByText('Version 2').waitFor();
  await hold(tab, 'plan with approval');

  // A drill, begun where the group is looked at. It needs nobody, and leaves what a person would have seen.
  await page.goto('/groups/shop');
  await page.waitForSelector('.uplot');
  await button('Run a drill').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Run a drill', exact: true }).click();
  await page.getByRole('heading', { name: 'Drill of shop' }).waitFor();
  await page.locator('ol li', { hasText: 'Running' }).first().waitFor();
  await hold(tab, 'drill running');
  await page.getByRole('img', { name: 'Screen of shop-db' }).waitFor({ timeout: bootTime });
  await page.locator('h1 ~ *, header', { hasText: 'Succeeded' }).first().waitFor();
  assert.ok(await page.getByRole('img', { name: 'Screen of shop-db' }).evaluate((img) => img.complete && img.naturalWidth > 0), 'the screen is not shown');
  await hold(tab, 'drill done', { full: true });
  const [report] = await Promise.all([page.context().waitForEvent('page'), page.getByRole('link', { name: 'Report' }).click()]);
  await report.getByText('shop-db').first().waitFor();
  await report.screenshot({ path: `${screens}real-report.png`, fullPage: true });
  await report.screenshot({ path: picture('drill') });
  await report.close();
  await page.goto('/plans/shop');
  await page.getByText(/^Verified/).first().waitFor();

  // All is well.
  await page.goto('/');
  await page.getByText('Proven to boot').first().waitFor();
  await hold(tab, 'overview well');

  // The site is lost: it is said by itself.
  await page.waitForSelector('.good');
  console.log('kill');
  const remedy = page.getByRole('link', { name: /^Fail over: lose/ });
  await remedy.waitFor({ timeout: 90_000 });
  await hold(tab, 'overview lost');
  await page.screenshot({ path: picture('overview') });

  // The wizard, to the end.
  await remedy.click();
  await page.getByRole('radio', { name: /^Newest / }).first().waitFor();
  await page.getByText('--plan shop --dry-run').waitFor(); // the group's plan is chosen by itself
  await hold(tab, 'failover point');
  await button('Next').click();
  await page.getByRole('heading', { name: 'Steps, in order' }).waitFor();
  await hold(tab, 'failover review', { full: true });
  await page.screenshot({ path: picture('failover') });
  await button('Next').click();
  assert.ok(await button('Fail over now').isDisabled(), 'a failover begins without its group being typed');
  await page.getByLabel(/^To fail over, type the name/).fill('shop');
  await hold(tab, 'failover confirm');
  await button('Fail over now').click();

  // It asks, and waits for an answer.
  await page.getByRole('heading', { name: 'This run waits for you' }).waitFor();
  await page.getByText('go ahead: Is east really lost?').waitFor();
  await hold(tab, 'run asks');
  await page.goto('/');
  const waits = page.getByRole('link', { name: 'shop: Waits for a person' });
  await waits.waitFor();
  assert.equal(await remedy.count(), 0, 'a failover is offered while one is under way');
  await hold(tab, 'overview waiting');
  await waits.click();
  await page.getByLabel('Note').fill('called the site, nobody answers');
  await button('Approve').click();
  await page.getByRole('heading', { name: 'This run waits for you' }).waitFor({ state: 'detached' });

  await page.locator('.note', { hasText: 'Waits until you commit' }).waitFor({ timeout: bootTime });
  await page.getByText('Achieved RTO').waitFor();
  await hold(tab, 'failover done', { full: true });
  await page.getByText('Timeline', { exact: true }).click();
  await page.waitForSelector('.gantt-bar');
  await hold(tab, 'failover timeline');
  await page.screenshot({ path: picture('run') });

  await button('Commit').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Commit', exact: true }).click();
  await page.getByRole('heading', { name: 'Commit of shop' }).waitFor();
  await page.locator('.note', { hasText: 'Reprotect' }).waitFor();
  await hold(tab, 'committed');
  await page.goto('/groups/shop');
  await page.waitForSelector('.uplot');
  await button('Reprotect').waitFor();
  assert.equal(await button('Pause').count() + (await button('Test failover').count()), 0, 'what the state refuses is offered');
  await hold(tab, 'group committed');

  // East is still gone: the group is protected where it runs all the same.
  await button('Reprotect').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Reprotect', exact: true }).click();
  await page.getByRole('heading', { name: 'Reprotection of shop' }).waitFor();
  await page.locator('header, h1 ~ *', { hasText: 'Succeeded' }).first().waitFor();
  await hold(tab, 'reprotected');
} catch (err) {
  fault('went wrong', err.message);
  await page.screenshot({ path: picture('went-wrong'), fullPage: true });
} finally {
  await browser.close();
}
conclude('the failover was played to its end: nothing found, pictures in web/test/screens');
