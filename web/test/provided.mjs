// People log in by a provider of identities, which is another site, on a controller with TLS and a certificate of its own making.
import assert from 'node:assert/strict';
import { launch, open } from './browser.mjs';
import { conclude, fault, hold, url } from './person.mjs';

/** Begins at a page of the console, and goes through the provider's. */
async function signInAt(tab, who, path = '/') {
  const { page } = tab;
  await page.goto(path);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await hold(tab, `provided ${who} login`);
  await page.getByRole('link', { name: /corp/ }).click();
  await provide(tab, who);
}

/** Goes through the provider's pages as somebody. They are the provider's own: nothing is held to our rules there. */
async function provide({ page, faults }, who) {
  await page.locator('input[name=login]').fill(who);
  await page.locator('input[name=password]').fill('any');
  await page.locator('button[type=submit]').click();
  await page.getByRole('button', { name: 'Continue' }).click();
  faults.length = 0;
}

const browser = await launch();
try {
  const ann = await open(browser, { url, selfSigned: true });
  const { page } = ann;
  const plain = [];
  page.on('request', (r) => {
    if (r.frame().url().startsWith(url) && !r.isNavigationRequest() && !/^(https|data|blob):/.test(r.url())) plain.push(r.url());
  });
  await signInAt(ann, 'ann', '/settings?tab=people');
  // To the end: she is where she wanted to go, and the API knows her.
  await page.getByRole('button', { name: 'Signed in as corp/ann' }).waitFor();
  await page.waitForURL('**/settings?tab=people');
  await page.getByRole('cell', { name: 'first' }).waitFor();
  await hold(ann, 'provided ann');
  const cookies = await page.context().cookies(url);
  const session = cookies.find((c) => c.sameSite === 'Strict');
  assert.ok(session?.secure && session.httpOnly, `the session's cookie is ${JSON.stringify(cookies)}`);
  assert.equal(cookies.length, 1, 'the cookie of the login is still there');
  assert.deepEqual(plain, [], 'what was fetched without TLS');
  // A certificate that browsers do not know must stay passable: they are not told to insist on TLS.
  const answer = await page.goto('/');
  assert.equal(answer.headers()['strict-transport-security'], undefined);
  // She goes on, loads a page anew, and what she does is done.
  await page.reload();
  await page.getByRole('button', { name: 'Signed in as corp/ann' }).waitFor();
  await page.getByRole('button', { name: 'Signed in as corp/ann' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal((await page.context().cookies(url)).length, 0, 'a cookie is left after signing out');
  await ann.close();

  // A page that is made by the controller is hers at once, too: although a page of the provider sent her there, the session's
  // cookie, which goes along only from our own pages, comes with the first request.
  const again = await open(browser, { url, selfSigned: true });
  await again.page.goto('/v1/oidc/corp/login?return=%2Fstatus');
  await provide(again, 'ann');
  await again.page.getByText('Nothing is protected yet').waitFor();
  assert.equal(new URL(again.page.url()).pathname, '/status');
  await again.close();

  // Who is in no group with a role does not get in, and reads why.
  const eve = await open(browser, { url, selfSigned: true });
  await signInAt(eve, 'eve');
  await eve.page.getByRole('heading', { name: 'Not signed in' }).waitFor();
  eve.faults.length = 0; // the browser writes the refusal to its console
  await hold(eve, 'provided eve');
  assert.equal((await eve.page.context().cookies(url)).length, 0);
} catch (err) {
  fault('went wrong', err.message);
} finally {
  await browser.close();
}
conclude('two people came by a provider of identities over TLS: nothing found');
