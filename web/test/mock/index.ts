// A made-up controller for looking at pages while they are written: answers are typed like the API's own.
// `npm run mock` serves the console with it; `npm run shots` takes pictures of every page with it.
import type { AnswerOf, PathOf } from '../../src/api/client';
import { match } from '../../src/app/match';
import { events, history, inventories, machines, many, overview, past, points, runs, statuses } from './data';
import * as house from './house';
import { check, group, planDetail, planHistory, plans, preview, question, run } from './recovery';

export interface Asked {
  params: Record<string, string>;
  query: URLSearchParams;
}

type Answers = { [P in PathOf<'get'>]?: (asked: Asked) => AnswerOf<P, 'get'> };

const verbs = ['read', 'replicate', 'protect', 'unprotect', 'test-failover', 'failover', 'approve', 'power', 'extend', 'copy', 'export', 'configure', 'manage-access', 'audit', 'self'];

const get: Answers = {
  '/v1/session': () => ({
    user: 'aiko', method: 'password', fourEyes: true, grants: [{ role: 'admin', scope: '*' }],
    verbs, rights: [{ scope: '*', verbs }],
  }),
  '/v1/login-methods': () => ({ bootstrap: false, password: true, oidc: [] }),
  '/v1/overview': overview,
  '/v1/status': ({ query }) => (query.get('q') === 'tenant' ? many(5000) : statuses()),
  '/v1/groups': () => ['orders', 'shop'].map(group),
  '/v1/groups/{name}/status': ({ params }) => statuses().find((s) => s.group === params.name) ?? statuses()[0]!,
  '/v1/sites': () => house.sites(),
  '/v1/sites/{name}': ({ params }) => house.sites().find((s) => s.name === params.name) ?? house.sites()[0]!,
  '/v1/sites/{name}/examination': () => house.examination(),
  '/v1/machines': ({ query }) => house.machines(query),
  '/v1/fences': () => [],
  '/v1/vaults': () => house.vaults(),
  '/v1/vaults/{name}/usage': ({ params }) => house.usage(params.name ?? ''),
  '/v1/policies': () => house.policies(),
  '/v1/policies/{name}/effective': ({ params }) => house.effective(params.name ?? ''),
  '/v1/monitors': () => house.monitors(),
  '/v1/monitors/{name}': () => house.monitors()[0]!,
  '/v1/extensions': () => house.inventories(),
  '/v1/extension-catalogue': () => house.catalogue(),
  '/v1/audit': () => house.audit(),
  '/v1/audit/verify': () => ({ intact: true, entries: 41, head: '41:ab12', findings: [] }),
  '/v1/channels': () => house.channels(),
  '/v1/notification-rules': () => house.rules(),
  '/v1/notification-settings': () => ({ console: 'https://understudy.example.com', repeat: '4h' }),
  '/v1/notifications': () => house.notifications(),
  '/v1/users': () => house.users(),
  '/v1/tokens': () => house.tokens(),
  '/v1/approvals': () => house.approvals(),
  '/v1/plans': () => plans(),
  '/v1/plans/{name}': ({ params }) => planDetail(params.name ?? ''),
  '/v1/plans/{name}/history': () => planHistory(),
  '/v1/runs/{name}': ({ params }) => run(params.name ?? ''),
  '/v1/runs/{name}/question': ({ params }) => question(params.name ?? ''),
  '/v1/groups/{name}': ({ params }) => group(params.name ?? ''),
  '/v1/groups/{name}/history': ({ params, query }) => {
    const [from, to] = [query.get('from') ?? past(86400), query.get('to') ?? past(0)];
    return { group: params.name ?? '', from, to, rpoSeconds: 5, samples: history(Date.parse(from), Date.parse(to), 300) };
  },
  '/v1/groups/{name}/points': points,
  '/v1/groups/{name}/retention': ({ query }) => {
    const all = points().map((p, i) => ({ id: p.id, time: p.time, kind: p.kind, names: p.names, kept: !!p.names || p.kind === 'application' || i % 7 === 0 }));
    return { at: past(-86400), keep: query.get('keep') ?? 'all for 1h, 1h for 7d', kept: all.filter((p) => p.kept).length, points: all };
  },
  '/v1/groups/{name}/points/{point}': () => points().findLast((p) => p.kind === 'application')!,
  '/v1/groups/{name}/points/{point}/machines': machines,
  '/v1/grants': () => [{ id: 'g3f', run: '', by: 'aiko', disk: 'shop@1-00099997/shop-db/data', access: 'read', issued: past(600), expires: past(-3000), renewed: 0 }],
  '/v1/groups/{name}/extensions': inventories,
  '/v1/sites/{name}/machines': machines,
  '/v1/events': ({ query }) => events(query.get('group') ?? undefined),
  '/v1/runs': ({ query }) => runs().filter((r) => query.get('active') !== 'true' || r.state === 'running' || r.state === 'waiting'),
};

/** What the API answers by a plain path; used where an answer is not described by a schema. */
const other: Record<string, () => unknown> = {
  '/livez': () => ({ status: 'ok' }),
};

/** What is asked with a body, and changes nothing. */
const post: { [P in PathOf<'post'>]?: (sent: object, params: Record<string, string>) => AnswerOf<P, 'post'> } = {
  '/v1/groups/{name}/points/{point}/mounts': () => ({
    grant: 'g41', point: '1-00099997', disk: 'shop-db/root', size: 20 * 2 ** 30, expires: past(-3600), uri: 'nbd+unix:///AXIAAAGd?socket=/var/lib/understudy/run/grants.sock', socket: '/var/lib/understudy/run/grants.sock', export: 'AXIAAAGd',
  }),
  '/v1/plan-checks': (sent) => check(sent),
  '/v1/groups/{name}/failover/preview': (sent, params) => preview(params.name ?? '', sent),
};

/** The answer to a POST; nothing where the deed is all. */
export function answerPost(url: URL, sent: object): unknown {
  for (const [path, fn] of Object.entries(post)) {
    const params = match(path.replace(/\{(\w+)\}/g, ':$1'), url.pathname);
    if (params) return fn(sent, params);
  }
  return {};
}

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
