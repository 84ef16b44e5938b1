// Takes pictures of pages with the made-up controller into test/screens, light, dark and narrow, and holds them to the rules:
// npm run shots [-- NAME...] [--language ja]. It says what it found and fails if that is anything.
import { mkdirSync } from 'node:fs';
import { createServer } from 'vite';
import { launch, open, overflows, violations } from './browser.mjs';
import { pages } from './pages.mjs';

const args = process.argv.slice(2);
const at = args.indexOf('--language');
const language = at >= 0 ? args.splice(at, 2)[1] : 'en';
const wanted = pages.filter((p) => args.length === 0 || args.includes(p.name));
const screens = new URL('screens/', import.meta.url).pathname;
mkdirSync(screens, { recursive: true });

const server = await createServer({ mode: 'mock', root: new URL('..', import.meta.url).pathname, server: { port: 0, hmr: false, ws: false, watch: null }, logLevel: 'warn' });
await server.listen();
const url = server.resolvedUrls.local[0];
const browser = await launch();
let bad = 0;
try {
  for (const p of wanted) {
    for (const look of [{ as: 'light' }, { as: 'dark', dark: true }, { as: '375', width: 375, height: 800 }]) {
      const { page, faults, close } = await open(browser, { url, language, ...look });
      try {
        await page.goto(p.path);
        await page.waitForSelector(p.see, { timeout: 60_000 });
        await p.then?.(page);
        await page.waitForLoadState('load');
        await page.screenshot({ path: `${screens}${p.name}-${look.as}${language === 'en' ? '' : `-${language}`}.png`, fullPage: true, clip: { x: 0, y: 0, width: look.width ?? 1280, height: Math.min(2400, await page.evaluate(() => document.documentElement.scrollHeight)) } });
        const found = [...faults.filter((f) => !f.includes('/v1/events/stream')), ...(await violations(page))];
        if (await overflows(page)) found.push('wider than the window');
        for (const f of found) console.log(`${p.name} ${look.as}: ${f}`);
        bad += found.length;
      } catch (err) {
        bad++;
        console.log(`${p.name} ${look.as}: ${err.message.split('\n')[0]}`);
        for (const f of faults) console.log(`  ${f}`);
        await page.screenshot({ path: `${screens}${p.name}-${look.as}-failed.png` });
      }
      await close();
    }
  }
} finally {
  await browser.close();
  await server.close();
}
console.log(`${wanted.length} pages, pictures in ${screens}: ${bad ? `${bad} faults` : 'nothing found'}`);
process.exit(bad ? 1 : 0);
