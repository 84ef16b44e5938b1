// A made-up controller for looking at pages while they are written: answers are typed like the API's own.
// `npm run mock` serves the console with it; `npm run shots` takes pictures of every page with it.
import type { AnswerOf, PathOf } from '../../src/api/client';
import { match } from '../../src/app/match';
import { many, runs, statuses } from './data';

export interface Asked {
  params: Record<string, string>;
  query: URLSearchParams;
}

type Answers = { [P in PathOf<'get'>]?: (asked: Asked) => AnswerOf<P, 'get'> };

const get: Answers = {
  '/v1/status': ({ query }) => (query.get('q') === 'tenant' ? many(5000) : statuses()),
  '/v1/runs': ({ query }) => runs().filter((r) => query.get('active') !== 'true' || r.state === 'running' || r.state === 'waiting'),
};

/** What the API answers by a plain path; used where an answer is not described by a schema. */
const other: Record<string, () => unknown> = {
  '/livez': () => ({ status: 'ok' }),
  '/v1/session': () => ({ user: 'aiko', grants: [{ role: 'admin', scope: '*' }], verbs: ['*'] }),
};

/** The answer to a GET; undefined when there is none. */
export function answer(url: URL): unknown {
  const plain = other[url.pathname];
  if (plain) return plain();
  for (const [path, fn] of Object.entries(get)) {
    const params = match(path.replace(/\{(\w+)\}/g, ':$1'), url.pathname);
    if (params) return (fn as (asked: Asked) => unknown)({ params, query: url.searchParams });
  }
  return undefined;
}
