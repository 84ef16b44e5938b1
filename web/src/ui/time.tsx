import { useSyncExternalStore } from 'react';
import { useMessages } from '../i18n/i18n';
import { useFormat, utc } from './format';
import { words } from './words';

let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(l: () => void): () => void {
  listeners.add(l);
  if (!timer) {
    now = Date.now(); // it stood still while nobody looked
    timer = setInterval(() => {
      now = Date.now();
      for (const each of listeners) each();
    }, 1000);
  }
  return () => {
    listeners.delete(l);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

const snapshot = () => now;

/** The time, a new one every second, in milliseconds. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, snapshot);
}

/** An instant in the viewer's zone, UTC on hover. `ago` says how long since; `short` leaves today's date out. */
export function Time({ at, ago = false, short = false }: { at?: string | number | Date | null; ago?: boolean; short?: boolean }) {
  const w = useMessages(words);
  if (!at) return <span className="dim">{w.never}</span>;
  return <Instant at={at} ago={ago} short={short} />;
}

function Instant({ at, ago, short }: { at: string | number | Date; ago: boolean; short: boolean }) {
  const f = useFormat();
  const iso = new Date(at).toISOString();
  return (
    <time dateTime={iso} title={ago ? `${f.dateTime(at)}\n${utc(at)}` : utc(at)}>
      {ago ? <Ago at={at} /> : short ? f.short(at) : f.dateTime(at)}
    </time>
  );
}

function Ago({ at }: { at: string | number | Date }) {
  const f = useFormat();
  return <>{f.ago(at, useNow())}</>;
}
