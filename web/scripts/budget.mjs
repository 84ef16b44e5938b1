// Fails when what a browser loads first is more than 250 kB of compressed script: index.html's module and all that it
// imports statically. Graph, chart and pages are loaded when they are wanted.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const limit = 250_000;
const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));
const seen = new Set();
const add = (name) => {
  if (seen.has(name)) return;
  seen.add(name);
  (manifest[name].imports ?? []).forEach(add);
};
add('index.html');
let total = 0;
for (const name of seen) total += gzipSync(readFileSync(new URL(manifest[name].file, dist))).length;
console.log(`first load: ${(total / 1000).toFixed(0)} kB of script, gzip (limit ${limit / 1000} kB)`);
if (total > limit) {
  console.error('load what the first page does not need with lazy() or import()');
  process.exit(1);
}
