// Who uses the console, and what they may do.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Problem } from './client';

export interface Grant {
  role: string;
  /** Where: everywhere (*), site:NAME or group:NAME. */
  scope: string;
}

export interface Session {
  user: string;
  grants: Grant[];
  /** What the user may do anywhere. */
  verbs: string[];
}

export interface LoginMethods {
  password: boolean;
  bootstrap: boolean;
  oidc?: string[];
}

export async function call<T>(method: string, path: string, body?: object): Promise<T> {
  let r: Response;
  try {
    r = await fetch(path, {
      method,
      headers: body ? { 'Content-Type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch (err) {
    throw new Problem(0, String(err), 'unreachable');
  }
  const text = await r.text();
  const data = text ? JSON.parse(text) : undefined;
  if (!r.ok) throw new Problem(r.status, data?.detail ?? r.statusText, data?.kind ?? 'internal', data?.hint, data?.errors);
  return data as T;
}

const key = ['/v1/session'];

/** The session; null when nobody is signed in. */
export function useSession() {
  return useQuery<Session | null, Problem>({
    queryKey: key,
    queryFn: async () => {
      try {
        return await call<Session>('GET', '/v1/session');
      } catch (err) {
        if (err instanceof Problem && err.status === 401) return null;
        // A controller without users knows one caller, whom the proxy before it names.
        if (err instanceof Problem && err.status === 404) return { user: 'admin', grants: [], verbs: ['*'] };
        throw err;
      }
    },
    staleTime: Infinity,
  });
}

/** Whether the user may do something. Pages hide or disable what they may not; the API refuses it anyway. */
export function useMay(): (verb: string) => boolean {
  const { data } = useSession();
  return (verb) => !!data && (data.verbs.includes('*') || data.verbs.includes(verb));
}

export function useSignOut() {
  const all = useQueryClient();
  return async () => {
    await call('DELETE', '/v1/session');
    all.clear();
    await all.invalidateQueries({ queryKey: key });
  };
}
