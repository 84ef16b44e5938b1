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

/** What a deed is about: a group with its sites, sites alone, or, when it is empty, the controller. Sites of a group that are not known yet are left out. */
export interface Subject {
  group?: string;
  sites?: string[];
}

/** Verbs about the controller, unless a subject says otherwise. */
const central: Verb[] = ['configure', 'manage-access', 'audit'];

/**
 * Whether the user may do something: on a subject, as internal/access decides it, or else somewhere. Pages disable what
 * they may not, and say so.
 */
export function useMay(): (verb: Verb, on?: Subject) => boolean {
  const { data } = useSession();
  return (verb, on = central.includes(verb) ? {} : undefined) => {
    const scopes = data?.rights.filter((r) => r.verbs.includes(verb)).map((r) => r.scope) ?? [];
    if (verb === 'self' || !on || scopes.includes('*')) return scopes.length > 0;
    if (on.group && scopes.includes(`group:${on.group}`)) return true;
    if (on.group && !on.sites) return scopes.some((s) => s.startsWith('site:'));
    const sites = on.sites ?? [];
    const covered = sites.filter((s) => scopes.includes(`site:${s}`)).length;
    return covered > 0 && (verb === 'read' || covered === sites.length);
  };
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
