// How far behind the vault was, and how much went to it.
import { Button, Group, SegmentedControl, SimpleGrid, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useGet } from '../../api/query';
import { useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Chart } from '../../ui/chart';
import { useFormat } from '../../ui/format';
import { Loaded, Section } from '../../ui/page';
import { group as words } from './messages';

const spans = { '1h': 3600, '24h': 86400, '7d': 7 * 86400, '30d': 30 * 86400 } as const;
type Span = keyof typeof spans;
const buckets = 300;

function spanOf(text: string | null): Span | undefined {
  return text !== null && Object.hasOwn(spans, text) ? (text as Span) : undefined;
}

export function History({ name, rpo }: { name: string; rpo: number }) {
  const w = useMessages(words);
  const f = useFormat();
  const [search, change] = useSearch();
  const chosen = spanOf(search.get('span'));
  const [young, setYoung] = useState(false);
  const span: Span = chosen ?? (young ? '1h' : '24h');
  const [zoom, setZoom] = useState<[number, number]>();
  const from = zoom ? new Date(zoom[0] * 1000).toISOString() : undefined;
  const to = zoom ? new Date(zoom[1] * 1000).toISOString() : undefined;
  // Without a zoom the span ends now; its beginning is kept to the minute, so that asking again asks the same.
  const begin = from ?? new Date(Math.floor(Date.now() / 60_000) * 60_000 - spans[span] * 1000).toISOString();
  const asked = useGet('/v1/groups/{name}/history', { path: { name }, query: { from: begin, to, points: buckets } });
  // A group that was protected within the hour would be a dot at the end of a day.
  const first = asked.data?.samples[0];
  if (first && asked.data && !chosen && !zoom && span === '24h' && Date.parse(asked.data.to) - Date.parse(first.time) < 3600_000) setYoung(true);
  const data = useMemo(() => {
    const h = asked.data;
    if (!h) return undefined;
    const step = (Date.parse(h.to) - Date.parse(h.from)) / 1000 / buckets;
    const hole = Math.max(3 * step, 3 * rpo, 30);
    const span: [number, number] = [Date.parse(h.from) / 1000, Date.parse(h.to) / 1000];
    const out = { span, times: [] as number[], lag: [] as (number | null)[], changed: [] as (number | null)[], stored: [] as (number | null)[] };
    for (const s of h.samples) {
      const t = Date.parse(s.time) / 1000;
      const last = out.times.at(-1);
      // Where nothing was measured nothing is drawn.
      if (last !== undefined && t - last > hole) {
        out.times.push(last + step);
        for (const k of ['lag', 'changed', 'stored'] as const) out[k].push(null);
      }
      out.times.push(t);
      out.lag.push(s.lagSeconds);
      out.changed.push(s.changedBytes / Math.max(step, 1));
      out.stored.push(s.storedBytes / Math.max(step, 1));
    }
    return out;
  }, [asked.data, rpo]);
  const onZoom = (a: number, b: number) => setZoom([a, b]);
  const control = (
    <Group gap="xs">
      {zoom && (
        <Button size="compact-sm" variant="subtle" onClick={() => setZoom(undefined)}>
          {w.reset}
        </Button>
      )}
      <SegmentedControl
        size="xs"
        aria-label={w.span}
        value={span}
        onChange={(s) => {
          setZoom(undefined);
          change({ span: s });
        }}
        data={[{ value: '1h', label: w.hour }, { value: '24h', label: w.day }, { value: '7d', label: w.week }, { value: '30d', label: w.month }]}
      />
    </Group>
  );
  return (
    <Loaded from={{ ...asked, data }}>
      {(d) => (
        <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
          <Section title={w.lag} aside={control}>
            {d.times.length === 0 ? (
              <Text className="dim" size="sm">
                {w.noHistory}
              </Text>
            ) : (
              <Chart
                label={`${w.lag}: ${w.lagAside}`}
                times={d.times}
                span={d.span}
                series={[
                  { label: w.lag, values: d.lag, color: '--busy-fill', fill: true },
                  { label: w.rpo, values: d.times.map(() => rpo), color: '--bad-fill', dashed: true },
                ]}
                format={f.duration}
                onZoom={onZoom}
              />
            )}
            <Text size="xs" className="dim">
              {w.lagAside}. {w.zoom}.
            </Text>
          </Section>
          <Section title={w.rates}>
            {d.times.length === 0 ? (
              <Text className="dim" size="sm">
                {w.noHistory}
              </Text>
            ) : (
              <Chart
                label={w.rates}
                times={d.times}
                span={d.span}
                series={[
                  { label: w.changed, values: d.changed, color: '--warn-fill' },
                  { label: w.stored, values: d.stored, color: '--good-fill', fill: true },
                ]}
                format={f.rate}
                onZoom={onZoom}
              />
            )}
          </Section>
        </SimpleGrid>
      )}
    </Loaded>
  );
}
