// Who uses the console, and what they may do.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { ask, Problem, type Schemas } from './client';

export type Session = Schemas['Session'];

const key = ['/v1/session'];

/** The session; null when nobody is signed in. */
export function useSession() {
  return useQuery<Session | null, Problem>({
    queryKey: key,
    queryFn: async () => {
      try {
        return (await ask('get', '/v1/session')).data;
      } catch (err) {
        if (err instanceof Problem && err.status === 401) return null;
        throw err;
      }
    },
    staleTime: Infinity,
  });
}

/**
 * Whether the user may do something somewhere. Pages disable what they may not, and say so; what depends on the site or the
 * group, the API refuses with a reason.
 */
export function useMay(): (verb: Verb) => boolean {
  const { data } = useSession();
  return (verb) => !!data?.verbs.includes(verb);
}

/** What one may do, as internal/access names it. */
export type Verb =
  | 'read' | 'replicate' | 'protect' | 'unprotect' | 'test-failover' | 'failover' | 'approve' | 'power' | 'extend' | 'copy' | 'export' | 'configure'
  | 'manage-access' | 'audit' | 'self';

export function useSignOut() {
  const all = useQueryClient();
  return async () => {
    await ask('delete', '/v1/session');
    // First nothing shows them any more, then they are forgotten: the next user sees nothing of them.
    all.setQueryData(key, null);
    all.removeQueries({ predicate: (q) => q.queryKey[0] !== key[0] });
  };
}
