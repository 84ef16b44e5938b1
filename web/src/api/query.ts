// Hooks that ask the API. What they return is kept until an event of the stream says that it changed (stream.ts).
import {
  type InfiniteData, keepPreviousData, QueryClient, type QueryKey, useInfiniteQuery, useMutation, useQuery, useQueryClient,
} from '@tanstack/react-query';
import { useMemo } from 'react';
import { type Answer, type AnswerOf, ask, type Input, type PathOf, Problem } from './client';
import { useConnection } from './connection';

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      refetchOnWindowFocus: true,
      // What the API refuses is not asked again; the way to it may come back.
      retry: (count, err) => count < 2 && (!(err instanceof Problem) || err.status === 503),
      networkMode: 'always',
      placeholderData: keepPreviousData,
    },
    mutations: { networkMode: 'always' },
  },
});

interface Options {
  enabled?: boolean;
  /** Milliseconds between questions while no events arrive; 10 s by default. */
  every?: number;
}

/** A page of a list: data, total and next. */
export function useAnswer<P extends PathOf<'get'>>(path: P, input?: Input<P, 'get'>, options: Options = {}) {
  const { events } = useConnection();
  return useQuery<Answer<AnswerOf<P, 'get'>>, Problem>({
    queryKey: [path, input ?? {}],
    queryFn: ({ signal }) => ask('get', path, input, { signal }),
    enabled: options.enabled,
    refetchInterval: events ? 60_000 : (options.every ?? 10_000),
  });
}

/** What a GET answers: `const sites = useGet('/v1/sites')`, `useGet('/v1/groups/{name}', { path: { name } })`. */
export function useGet<P extends PathOf<'get'>>(path: P, input?: Input<P, 'get'>, options: Options = {}) {
  const { events } = useConnection();
  return useQuery<Answer<AnswerOf<P, 'get'>>, Problem, AnswerOf<P, 'get'>>({
    queryKey: [path, input ?? {}],
    queryFn: ({ signal }) => ask('get', path, input, { signal }),
    select: (a) => a.data,
    enabled: options.enabled,
    refetchInterval: events ? 60_000 : (options.every ?? 10_000),
  });
}

/**
 * Changes something: `const pause = useAct('post', '/v1/groups/{name}/pause')`, `pause.mutate({ path: { name } })`. A key makes
 * sure that a request that is sent twice is carried out once. Everything shown is asked for anew afterwards.
 */
export function useAct<M extends 'post' | 'put' | 'delete', P extends PathOf<M>>(
  method: M,
  path: P,
  options: { onDone?: (answer: AnswerOf<P, M>) => void } = {},
) {
  const all = useQueryClient();
  return useMutation<AnswerOf<P, M>, Problem, Input<P, M>>({
    mutationFn: async (input) => {
      const headers: Record<string, string> = method === 'post' ? { 'Idempotency-Key': crypto.randomUUID() } : {};
      return (await ask(method, path, input, { headers })).data;
    },
    onSuccess: (answer) => {
      options.onDone?.(answer);
      return all.invalidateQueries();
    },
  });
}

/** How many rows the largest page of a long list has. */
const largest = 1000;

interface Place {
  after?: string;
  limit?: number;
}

type RowOf<P extends PathOf<'get'>> = AnswerOf<P, 'get'> extends (infer T)[] ? T : never;

/**
 * A long list, page by page as the reader goes down: `rows`, how many there are (`total`), and `more` to have the next page.
 * `by` tells rows apart: one whose place in the order changed while the pages were read is on two of them, and shown once.
 */
export function usePages<P extends PathOf<'get'>>(path: P, input: Input<P, 'get'>, by: (row: RowOf<P>) => string) {
  const { events } = useConnection();
  type Row = RowOf<P>;
  const asked = useInfiniteQuery<Answer<AnswerOf<P, 'get'>>, Problem, InfiniteData<Answer<AnswerOf<P, 'get'>>>, QueryKey, Place>({
    queryKey: [path, input, 'pages'],
    queryFn: ({ pageParam, signal }) => {
      const query = { ...(input as { query?: object }).query, ...pageParam };
      return ask('get', path, { ...(input as object), query } as unknown as Input<P, 'get'>, { signal });
    },
    initialPageParam: {},
    // Each page is as long as all before it: who goes far down a list has it in a few requests, and so has who asks anew for all of it.
    getNextPageParam: (last, all) => (last.next ? { after: last.next, limit: Math.min(largest, all.reduce((n, p) => n + (p.data as unknown as Row[]).length, 0)) } : undefined),
    refetchInterval: events ? 60_000 : 10_000,
  });
  const rows = useMemo(() => {
    const known = new Map<string, Row>();
    for (const p of asked.data?.pages ?? []) {
      for (const row of p.data as unknown as Row[]) if (!known.has(by(row))) known.set(by(row), row);
    }
    return [...known.values()];
  }, [asked.data, by]);
  const more = () => {
    if (asked.hasNextPage && !asked.isFetchingNextPage) void asked.fetchNextPage();
  };
  return { ...asked, rows, total: asked.data?.pages[0]?.total ?? rows.length, more };
}
