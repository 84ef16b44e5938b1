// The API's client: typed by the description that the handlers generate; errors are problems with a hint.
import createClient from 'openapi-fetch';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];

const client = createClient<paths>({ baseUrl: '/' });

/** An error as the API writes it, or one of reaching it (status 0). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly kind: string,
    readonly hint?: string,
    readonly fields: { location?: string; message: string }[] = [],
  ) {
    super(detail);
    this.name = 'Problem';
  }
}

/** The problem that an answer told, as far as it told one. */
export function refusal(response: Response, told: unknown): Problem {
  const p = (typeof told === 'object' && told ? told : {}) as Partial<Schemas['Problem']>;
  return new Problem(response.status, p.detail ?? response.statusText, p.kind ?? 'internal', p.hint, p.errors);
}

type Method = 'get' | 'post' | 'put' | 'delete';
/** Paths that have a method. */
export type PathOf<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }[keyof paths];
type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never;
type Content<R> = R extends { content: { 'application/json': infer T } } ? T : undefined;
/** What an operation answers. */
export type AnswerOf<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { responses: infer R }
    ? R extends { 200: infer A }
      ? Content<A>
      : R extends { 202: infer A }
        ? Content<A>
        : R extends { 201: infer A }
          ? Content<A>
          : undefined
    : never;
type Part<O, K extends string> = O extends { parameters: infer R } ? (K extends keyof R ? R[K] : undefined) : undefined;
type Given<K extends string, T> = [T] extends [undefined] ? { [P in K]?: never } : undefined extends T ? { [P in K]?: T } : { [P in K]: T };
type BodyOf<O> = O extends { requestBody: { content: { 'application/json': infer B } } }
  ? B
  : O extends { requestBody?: { content: { 'application/json': infer B } } }
    ? B | undefined
    : undefined;
/** What an operation is given: path, query, body. */
export type Input<P extends keyof paths, M extends Method> = Given<'path', Exclude<Part<Operation<P, M>, 'path'>, undefined>> &
  Given<'query', Part<Operation<P, M>, 'query'>> &
  Given<'body', BodyOf<Operation<P, M>>>;

export type Answer<T> = { data: T; /** of how many */ total?: number; /** where the next page begins */ next?: string };

interface Loose {
  path?: unknown;
  query?: unknown;
  body?: unknown;
}

/** Asks the API. Throws a Problem. */
export async function ask<P extends PathOf<M>, M extends Method>(
  method: M,
  path: P,
  input?: Input<P, M>,
  init: { signal?: AbortSignal; headers?: Record<string, string> } = {},
): Promise<Answer<AnswerOf<P, M>>> {
  const given = (input ?? {}) as Loose;
  // The names of the methods are capitals in the library, whose own types say what this function's say.
  const send = client[method.toUpperCase() as 'GET'] as unknown as (
    path: string,
    init: object,
  ) => Promise<{ data?: unknown; error?: unknown; response: Response }>;
  let result: Awaited<ReturnType<typeof send>>;
  try {
    result = await send(path, { params: { path: given.path, query: given.query }, body: given.body, ...init });
  } catch (err) {
    if (init.signal?.aborted) throw err;
    throw new Problem(0, String(err instanceof Error ? err.message : err), 'unreachable');
  }
  const { data, error, response } = result;
  // A request that another person has to approve first is accepted, and yet a problem.
  if (!response.ok || response.headers.get('Content-Type')?.startsWith('application/problem+json')) {
    throw refusal(response, error ?? data);
  }
  const total = response.headers.get('X-Total');
  return { data: data as AnswerOf<P, M>, total: total ? Number(total) : undefined, next: response.headers.get('X-Next') ?? undefined };
}

/** Fetches what the description has no schema for, such as a report. Throws a Problem. */
export async function fetchJSON<T>(path: string): Promise<T> {
  let r: Response;
  try {
    r = await fetch(path);
  } catch (err) {
    throw new Problem(0, String(err), 'unreachable');
  }
  const data = await r.json();
  if (!r.ok) throw refusal(r, data);
  return data as T;
}
