import { useEffect, useLayoutEffect, useRef, useState } from 'react';

/** Rows beyond the window that are drawn, too, so that scrolling shows no gaps. */
const margin = 12;
/** How many rows before the end of those that are here the next page is asked for. */
const early = 60;

/**
 * Draws only those rows of a long list that the window shows. All rows have one height, in pixels. Put `ref` on the element that
 * holds the rows; give it `height`, and each row of [from, to) its place by `top`. Of a list that comes by pages `more` is called
 * before its reader gets to the end of the rows that are here.
 */
export function useRows(count: number, rowHeight: number, pages?: { total: number; more: () => void }) {
  const ref = useRef<HTMLDivElement>(null);
  const [[from, to], setRange] = useState<[number, number]>([0, 60]);
  useLayoutEffect(() => {
    const look = () => {
      const top = ref.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / rowHeight) - margin);
      const last = Math.min(count, Math.ceil((window.innerHeight - top) / rowHeight) + margin);
      setRange((r) => (r[0] === first && r[1] === last ? r : [first, Math.max(first, last)]));
    };
    look();
    window.addEventListener('scroll', look, { passive: true });
    window.addEventListener('resize', look);
    return () => {
      window.removeEventListener('scroll', look);
      window.removeEventListener('resize', look);
    };
  }, [count, rowHeight]);
  const more = pages && count < pages.total && Math.min(to, count) > count - early ? pages.more : undefined;
  useEffect(() => more?.(), [more]);
  return { ref, from, to: Math.min(to, count), height: count * rowHeight, top: (i: number) => i * rowHeight };
}
