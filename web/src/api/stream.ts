// One stream of events for the whole console. Events say what changed, not how: what is shown of it is asked for anew.
import type { Query, QueryClient } from '@tanstack/react-query';
import { setEvents } from './connection';

/** Milliseconds over which events are gathered, so that many groups do not make many requests. */
const gather = 1000;

interface Pending {
  /** Something that is recorded happened: it may be about anything. */
  all: boolean;
  /** More groups than are named. */
  every: boolean;
  groups: Set<string>;
  runs: Set<string>;
}

const none = (): Pending => ({ all: false, every: false, groups: new Set(), runs: new Set() });

/** Whether a query shows something of what changed. */
function touched(query: Query, p: Pending): boolean {
  const [path, input] = query.queryKey as [string, { path?: { name?: string } } | undefined];
  const name = input?.path?.name;
  if (p.all) return true;
  if (p.every || p.groups.size > 0) {
    if (path === '/v1/status' || path === '/v1/overview') return true;
    if (path.startsWith('/v1/groups/{name}') && name && (p.every || p.groups.has(name))) return true;
  }
  if (p.runs.size > 0) {
    if (path === '/v1/runs' || path === '/v1/overview') return true;
    if (path.startsWith('/v1/runs/{name}') && name && p.runs.has(name)) return true;
  }
  return false;
}

/** Milliseconds for which a list of several pages stays as it is: what is shown of thousands of groups is not read anew every second. */
const keep = 5000;

/** Whether a query has to wait: what is being asked is not broken off, since it might never be answered then. */
function busy(query: Query): boolean {
  if (query.state.fetchStatus === 'fetching') return true;
  const { pages } = (query.state.data ?? {}) as { pages?: unknown[] };
  return (pages?.length ?? 0) > 1 && Date.now() - query.state.dataUpdatedAt < keep;
}

/** Listens until the returned function is called. */
export function listen(queries: QueryClient): () => void {
  let pending = none();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waiting = new Set<string>();
  const flush = () => {
    const p = pending;
    pending = none();
    timer = undefined;
    const before = new Set(waiting);
    waiting.clear();
    void queries.invalidateQueries({
      predicate: (q) => {
        if (!touched(q, p) && !before.has(q.queryHash)) return false;
        if (!q.isActive() || !busy(q)) return true;
        waiting.add(q.queryHash);
        return false;
      },
    });
    if (waiting.size > 0) later();
  };
  const later = () => {
    timer ??= setTimeout(flush, gather);
  };
  const source = new EventSource('/v1/events/stream');
  const on = (type: string, take: (data: { groups?: string[]; run?: string }) => void) =>
    source.addEventListener(type, (e) => {
      take(JSON.parse((e as MessageEvent<string>).data));
      later();
    });
  on('change', () => {
    pending.all = true;
  });
  on('status', (d) => {
    if (d.groups?.length) for (const g of d.groups) pending.groups.add(g);
    else pending.every = true;
  });
  on('run', (d) => {
    if (d.run) pending.runs.add(d.run);
  });
  let before = false;
  source.addEventListener('open', () => {
    setEvents(true);
    // What happened while there was no stream is not known.
    if (before) void queries.invalidateQueries();
    before = true;
  });
  source.addEventListener('error', () => setEvents(false));
  return () => {
    source.close();
    clearTimeout(timer);
    setEvents(false);
  };
}
