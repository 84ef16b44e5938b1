import { useLayoutEffect, useRef, useState } from 'react';

/** Rows beyond the window that are drawn, too, so that scrolling shows no gaps. */
const margin = 12;

/**
 * Draws only those rows of a long list that the window shows. All rows have one height, in pixels. Put `ref` on the element that
 * holds the rows; give it `height`, and each row of [from, to) its place by `top`.
 */
export function useRows(count: number, rowHeight: number) {
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
  return { ref, from, to: Math.min(to, count), height: count * rowHeight, top: (i: number) => i * rowHeight };
}
