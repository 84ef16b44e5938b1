// A router on the browser's history: the path says which page, the query what of it is shown, so that every view has a link.
import { Anchor, type AnchorProps } from '@mantine/core';
import { type AnchorHTMLAttributes, forwardRef, type MouseEvent, useCallback, useMemo, useSyncExternalStore } from 'react';

const listeners = new Set<() => void>();
const tell = () => {
  for (const l of listeners) l();
};
window.addEventListener('popstate', tell);

export function navigate(to: string, { replace = false } = {}) {
  if (to === location.pathname + location.search) return;
  const page = new URL(to, location.href).pathname !== location.pathname;
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  tell();
  if (page) window.scrollTo(0, 0);
}

export function useLocation() {
  const href = useSyncExternalStore(
    (l) => {
      listeners.add(l);
      return () => listeners.delete(l);
    },
    () => location.pathname + location.search,
  );
  return useMemo(() => new URL(href, location.origin), [href]);
}

/** The query of the address, and a function that changes it; an empty value takes a key away. */
export function useSearch(): [URLSearchParams, (change: Record<string, string | undefined>) => void] {
  const url = useLocation();
  const change = useCallback((values: Record<string, string | undefined>) => {
    const next = new URLSearchParams(location.search);
    for (const [k, v] of Object.entries(values)) {
      if (v) next.set(k, v);
      else next.delete(k);
    }
    const query = next.toString();
    navigate(location.pathname + (query ? `?${query}` : ''), { replace: true });
  }, []);
  return [url.searchParams, change];
}

/** Makes a click go to a page without loading the console again; with a modifier key the browser decides. */
export function follow(to: string) {
  return (e: MouseEvent<HTMLElement>) => {
    if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    e.preventDefault();
    navigate(to);
  };
}

type LinkProps = { to: string } & AnchorProps & Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof AnchorProps | 'href' | 'onClick'>;

/** A link to a page of the console, of the size of the text around it. */
export const Link = forwardRef<HTMLAnchorElement, LinkProps>(function Link({ to, ...rest }, ref) {
  return <Anchor ref={ref} inherit href={to} onClick={follow(to)} {...rest} />;
});
