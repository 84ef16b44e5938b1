import { match } from './match';
import { routes } from './routes';

/** Whether there is a page for a path. */
export function hasPage(path: string): boolean {
  return routes.some((r) => match(r.path, path.split('?')[0] ?? path));
}

const existing = (path: string) => (hasPage(path) ? path : undefined);
const name = encodeURIComponent;

/** Where things are shown. */
export const links = {
  group: (group: string) => `/groups/${name(group)}`,
  machine: (site: string, machine: string) => `/machines/${name(site)}/${name(machine)}`,
  points: (group: string) => `/groups/${name(group)}/points`,
  run: (id: string) => existing(`/runs/${name(id)}`),
  failover: (group: string, choice: { kind?: string; point?: string; plan?: string } = {}) => {
    const query = new URLSearchParams(choice).toString();
    return `/failover/${name(group)}${query && `?${query}`}`;
  },
  vault: (vault: string) => existing(`/vaults/${name(vault)}`) ?? existing('/vaults'),
  site: (site: string) => existing(`/sites/${name(site)}`),
  policies: () => existing('/policies'),
  plans: () => existing('/plans'),
};

