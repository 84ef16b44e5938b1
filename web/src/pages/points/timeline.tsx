// Points over their age, on a scale that has room for the newest and still shows the oldest.
import { useElementSize } from '@mantine/hooks';
import { type KeyboardEvent, type PointerEvent, useMemo } from 'react';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { useFormat } from '../../ui/format';
import { points as words } from './messages';

type Point = Schemas['RecoveryPoint'];

export const kinds = ['application', 'filesystem', 'crash'] as const;
export const kindColor: Record<string, string> = { application: 'var(--good-fill)', filesystem: 'var(--busy-fill)', crash: 'var(--idle-fill)' };

const lane = 26;
const top = 40;
const height = top + kinds.length * lane + 30;
const side = 14;
/** Ages with a label, in seconds. */
const marks = [0, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400, 365 * 86400];

export interface TimelineProps {
  points: Point[];
  proven: ReadonlySet<string>;
  /** Those that will be gone at the time that is foreseen. */
  gone: ReadonlySet<string>;
  now: number;
  chosen?: Point;
  onChoose: (p: Point) => void;
}

export function Timeline({ points, proven, gone, now, chosen, onChoose }: TimelineProps) {
  const w = useMessages(words);
  const f = useFormat();
  const { ref, width } = useElementSize();
  const oldest = Math.max(120, ...points.map((p) => (now - Date.parse(p.time)) / 1000));
  const scale = useMemo(() => {
    const room = Math.max(1, width - 2 * side);
    return (age: number) => side + room * (1 - Math.log1p(Math.max(0, age) / 20) / Math.log1p(oldest / 20));
  }, [width, oldest]);
  const drawn = useMemo(() => points.map((p) => ({ p, x: scale((now - Date.parse(p.time)) / 1000) })), [points, scale, now]);
  // Points that would lie on each other are drawn once.
  const dots = useMemo(() => {
    const seen = new Map<string, (typeof drawn)[number]>();
    for (const d of drawn) {
      const place = `${d.p.kind} ${Math.round(d.x / 3)}`;
      const there = seen.get(place);
      // What is kept is not hidden by what goes.
      if (!there || gone.has(there.p.id) || !gone.has(d.p.id)) seen.set(place, d);
    }
    return [...seen.values()];
  }, [drawn, gone]);
  const nearest = (x: number) => drawn.reduce<(typeof drawn)[number] | undefined>((best, d) => (!best || Math.abs(d.x - x) < Math.abs(best.x - x) ? d : best), undefined);
  const onPointer = (e: PointerEvent<SVGSVGElement>) => {
    if (e.type === 'pointermove' && e.buttons !== 1) return;
    const d = nearest(e.clientX - e.currentTarget.getBoundingClientRect().left);
    if (d) onChoose(d.p);
  };
  const at = chosen ? points.findIndex((p) => p.id === chosen.id) : -1;
  const onKey = (e: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -points.length, End: points.length }[e.key];
    if (!step) return;
    e.preventDefault();
    const p = points[Math.min(points.length - 1, Math.max(0, at + step))];
    if (p) onChoose(p);
  };
  const laneY = (kind: string) => top + Math.max(0, kinds.indexOf(kind as 'crash')) * lane + lane / 2;
  const chosenX = chosen && scale((now - Date.parse(chosen.time)) / 1000);
  let free = -Infinity;
  return (
    <div ref={ref}>
      {width > 0 && (
        <svg
          width={width}
          height={height}
          role="slider"
          tabIndex={0}
          aria-label={w.timeline}
          aria-valuemin={0}
          aria-valuemax={points.length - 1}
          aria-valuenow={Math.max(0, at)}
          aria-valuetext={chosen ? f.dateTime(chosen.time) : undefined}
          onKeyDown={onKey}
          onPointerDown={onPointer}
          onPointerMove={onPointer}
          className="timeline"
        >
          {kinds.map((k) => (
            <line key={k} x1={side} x2={width - side} y1={laneY(k)} y2={laneY(k)} stroke="var(--hair)" />
          ))}
          {marks
            .filter((m) => m <= oldest)
            .map((m) => ({ m, x: scale(m) }))
            .filter(({ x }, i, all) => i === 0 || (all[i - 1]?.x ?? 0) - x > 46 || i === 0)
            .map(({ m, x }) => (
              <g key={m}>
                <line x1={x} x2={x} y1={top - 4} y2={height - 24} stroke="var(--hair)" />
                <text x={x} y={height - 8} textAnchor={x > width - 40 ? 'end' : x < 40 ? 'start' : 'middle'} className="tick">
                  {m === 0 ? w.now : f.duration(m)}
                </text>
              </g>
            ))}
          {dots.map(({ p, x }) => (
            <circle key={p.id} cx={x} cy={laneY(p.kind)} r={gone.has(p.id) ? 2.5 : p.base ? 6 : 4.5} fill={gone.has(p.id) ? 'var(--sheet)' : kindColor[p.kind]} stroke={kindColor[p.kind]} strokeWidth={gone.has(p.id) ? 1 : 0} />
          ))}
          {drawn
            .filter(({ p }) => p.names?.length || proven.has(p.id))
            .map(({ p, x }) => {
              const text = p.names?.join(', ') ?? '';
              const shown = text && x - free > 8;
              if (shown) free = x + text.length * 7 + 14;
              return (
                <g key={p.id}>
                  <line x1={x} x2={x} y1={22} y2={laneY(p.kind)} stroke={proven.has(p.id) ? 'var(--good)' : 'var(--dim)'} strokeDasharray="2 2" />
                  {proven.has(p.id) && <path d={`M${x} 8 l7 3 v5 c0 4 -3 7 -7 8 c-4 -1 -7 -4 -7 -8 v-5 z`} fill="var(--good)" />}
                  {text && !proven.has(p.id) && <path d={`M${x} 10 h9 l-3 4 l3 4 h-9 z`} fill="var(--dim)" />}
                  {shown && (
                    <text x={x + 12} y={19} className="tick strong">
                      {text}
                    </text>
                  )}
                </g>
              );
            })}
          {chosen && chosenX !== undefined && (
            <g>
              <line x1={chosenX} x2={chosenX} y1={26} y2={height - 22} stroke="var(--mantine-primary-color-filled)" strokeWidth={2} />
              <circle cx={chosenX} cy={laneY(chosen.kind)} r={8} fill={kindColor[chosen.kind]} stroke="var(--mantine-primary-color-filled)" strokeWidth={3} />
            </g>
          )}
        </svg>
      )}
    </div>
  );
}
