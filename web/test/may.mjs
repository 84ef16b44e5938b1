// Somebody who may look at the group shop and rehearse the group bank sees just that: what may not be done says why.
import assert from 'node:assert/strict';
import { launch, open } from './browser.mjs';
import { conclude, fault, hold, signIn, url } from './person.mjs';

const browser = await launch();
try {
  const tab = await open(browser, { url });
  const { page } = tab;
  await page.goto('/');
  await signIn(page, 'vera');

  /** Whether a deed can be done, and why not. */
  const deed = async (name) => {
    const button = page.getByRole('button', { name, exact: true }).first();
    await button.waitFor();
    return { off: (await button.getAttribute('aria-disabled')) === 'true', why: await button.getAttribute('aria-description') };
  };
  const refused = async (name, verb, group) => assert.deepEqual(await deed(name), { off: true, why: `Your role does not allow this on ${group} (${verb})` });

  await page.goto('/groups/shop');
  await refused('Test failover', 'test-failover', 'shop');
  await refused('Run a drill', 'test-failover', 'shop');
  await refused('Pause', 'replicate', 'shop');
  await refused('Failover', 'failover', 'shop');
  await hold(tab, 'may shop');

  await page.goto('/groups/bank');
  await refused('Pause', 'replicate', 'bank');
  await refused('Failover', 'failover', 'bank');
  assert.equal((await deed('Test failover')).off, false);
  await page.getByRole('button', { name: 'Test failover', exact: true }).click();
  await page.getByRole('dialog').waitFor();
  await hold(tab, 'may bank');

  // The controller is nobody's part.
  await page.goto('/policies');
  assert.equal((await deed('Add a policy')).off, true);
} catch (err) {
  fault('went wrong', err.message);
} finally {
  await browser.close();
}
conclude('one group to look at, another to rehearse: nothing found');
