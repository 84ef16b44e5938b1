import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import UPlot from 'uplot';
import { useLanguage } from '../i18n/i18n';
import type { ChartProps } from './chart';
import { variety } from './format';

const color = (token: string) => getComputedStyle(document.documentElement).getPropertyValue(token).trim();

export default function Drawn({ label, times, series, span, format, height = 220, onZoom }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  const { language } = useLanguage();
  const zoom = useRef(onZoom);
  zoom.current = onZoom;
  const written = useRef(format);
  written.current = format;
  const shape = JSON.stringify(series.map(({ values: _, ...s }) => s));
  const plot = useRef<UPlot>(null);
  const data = [times, ...series.map((s) => s.values)] as UPlot.AlignedData;
  const latest = useRef(data);
  latest.current = data;
  const reach = useRef(span);
  reach.current = span;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const locale = variety(language);
    const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });
    const day = new Intl.DateTimeFormat(locale, { month: 'short', day: 'numeric' });
    const full = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
    const axis = { stroke: color('--dim'), grid: { stroke: color('--hair'), width: 1 }, ticks: { stroke: color('--hair'), width: 1 }, font: '12px system-ui, sans-serif' };
    const u = new UPlot(
      {
        width: element.clientWidth,
        height,
        cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
        scales: { x: { range: () => reach.current }, y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [
          {
            ...axis,
            values: (_u, splits) => {
              const long = (splits.at(-1) ?? 0) - (splits[0] ?? 0) > 86400 * 1.5;
              return splits.map((s) => {
                const t = new Date(s * 1000);
                const midnight = t.getHours() === 0 && t.getMinutes() === 0;
                return long || midnight ? day.format(t) : clock.format(t);
              });
            },
          },
          { ...axis, size: 78, values: (_u, splits) => splits.map((s) => written.current(s)) },
        ],
        series: [
          { label: '', value: (_u, v) => (v === null ? '' : full.format(v * 1000)) },
          ...series.map((s) => ({
            label: s.label,
            stroke: color(s.color),
            width: s.dashed ? 1.5 : 2,
            dash: s.dashed ? [6, 5] : undefined,
            fill: s.fill ? `color-mix(in srgb, ${color(s.color)} 12%, transparent)` : undefined,
            // A sample between two holes makes no line.
            points: { show: latest.current[0].length < 3, size: 6 },
            value: (_u: UPlot, v: number | null) => (v === null ? '–' : written.current(v)),
          })),
        ],
        hooks: {
          setSelect: [
            (p) => {
              if (p.select.width < 4) return;
              zoom.current?.(p.posToVal(p.select.left, 'x'), p.posToVal(p.select.left + p.select.width, 'x'));
              p.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
        },
      },
      latest.current,
      element,
    );
    plot.current = u;
    const resize = new ResizeObserver(() => u.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [shape, scheme, language, height]);

  useEffect(() => {
    plot.current?.setData(latest.current);
  });

  return <div ref={box} role="img" aria-label={label} className="chart" />;
}
