// Whether the controller can be reached. Everything shown is as of the last time that it was heard; after that it is unknown.
import { useSyncExternalStore } from 'react';

export interface Connection {
  /** The controller answered lately. While it did not, no green is shown. */
  reachable: boolean;
  /** When it last answered, in milliseconds since 1970. */
  heard: number;
  /** Events arrive by the stream. */
  events: boolean;
}

/** How long after the last answer what is shown is unknown, in milliseconds. */
const patience = 25_000;
const beat = 8_000;

let state: Connection = { reachable: true, heard: Date.now(), events: false };
const listeners = new Set<() => void>();

function set(change: Partial<Connection>) {
  state = { ...state, ...change };
  for (const l of listeners) l();
}

export function setEvents(events: boolean) {
  if (events !== state.events) set({ events });
}

/** Asks whether the controller answers until stopped; calls back when it does so again. */
export function watchConnection(back: () => void): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout>;
  const look = async () => {
    const lost = !state.reachable;
    try {
      const r = await fetch('/livez', { signal: AbortSignal.timeout(beat), cache: 'no-store' });
      if (!r.ok) throw new Error(r.statusText);
      set({ reachable: true, heard: Date.now() });
      if (lost) back();
    } catch {
      set({ reachable: false });
    }
    if (!stopped) timer = setTimeout(look, beat);
  };
  void look();
  // A computer that slept has old numbers on its screen until the next answer.
  const doubt = setInterval(() => {
    if (state.reachable && Date.now() - state.heard > patience) set({ reachable: false });
  }, 1000);
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(doubt);
  };
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (l) => {
      listeners.add(l);
      return () => listeners.delete(l);
    },
    () => state,
  );
}
