import { Group, SegmentedControl, Stack, Text } from '@mantine/core';
import { IconFlagFilled, IconShieldCheckFilled } from '@tabler/icons-react';
import { useMemo } from 'react';
import type { Schemas } from '../../api/client';
import { useGet } from '../../api/query';
import { links } from '../../app/links';
import { useSearch } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Empty } from '../../ui/empty';
import { useFormat } from '../../ui/format';
import { Loaded, Page, Section } from '../../ui/page';
import { useRows } from '../../ui/rows';
import { ProblemNote } from '../../ui/problem';
import { Time, useNow } from '../../ui/time';
import { Chosen } from './chosen';
import { points as words } from './messages';
import { kindColor, kinds, Timeline } from './timeline';

type Point = Schemas['RecoveryPoint'];
const least: Record<string, string[]> = { application: ['application'], filesystem: ['application', 'filesystem'] };

export default function Points({ params }: PageProps) {
  const name = params.name ?? '';
  const w = useMessages(words);
  const f = useFormat();
  const [search, change] = useSearch();
  const only = search.get('only') ?? '';
  const asked = useGet('/v1/groups/{name}/points', { path: { name } });
  const status = useGet('/v1/groups/{name}/status', { path: { name } });
  const runs = useGet('/v1/runs', { query: { group: name, limit: 200 } });
  const proven = useMemo(() => {
    const set = new Set<string>();
    if (status.data?.provenPoint) set.add(status.data.provenPoint);
    for (const r of runs.data ?? []) if ((r.kind === 'drill' || r.kind === 'test-failover') && r.state === 'succeeded' && r.point) set.add(r.point);
    return set;
  }, [status.data?.provenPoint, runs.data]);
  const ahead = search.get('in') ?? '';
  const foreseen = useGet('/v1/groups/{name}/retention', { path: { name }, query: { in: ahead } }, { enabled: ahead !== '' });
  const retention = ahead ? foreseen.data : undefined;
  const gone = useMemo(() => new Set(retention?.points.filter((p) => !p.kept).map((p) => p.id)), [retention]);
  const shown = useMemo(
    () => (asked.data ?? []).filter((p) => (only === 'named' ? !!p.names?.length : only in least ? least[only]?.includes(p.kind) : true)),
    [asked.data, only],
  );
  // Without a choice it is the newest, and stays so.
  const chosen = shown.find((p) => p.id === search.get('point')) ?? shown.at(-1);
  const choose = (p: Point) => change({ point: p.id });
  const now = Math.floor(useNow() / 5000) * 5000;
  return (
    <Page title={w.title} group={name} way={[{ to: '/groups', label: w.groups }, { to: links.group(name), label: name }]} badges={asked.data && <Text className="dim">{w.count(f.number(shown.length))}</Text>}>
      <Loaded from={asked}>
        {(all) =>
          all.length === 0 ? (
            <Empty title={w.emptyTitle} cmd={`understudy sync ${quote(name)}`}>
              {w.emptyText}
            </Empty>
          ) : (
            <Stack gap="md">
              <Section>
                <Group justify="space-between" mb="sm" gap="xs">
                  <Legend />
                  <SegmentedControl
                    size="xs"
                    aria-label={w.only}
                    value={only}
                    onChange={(v) => change({ only: v })}
                    data={[{ value: '', label: w.all }, { value: 'filesystem', label: w.atLeastFs }, { value: 'application', label: w.atLeastApp }, { value: 'named', label: w.onlyNamed }]}
                    className="wrap"
                  />
                </Group>
                <Timeline points={shown} proven={proven} gone={gone} now={now} chosen={chosen} onChoose={choose} />
                <Group gap="sm" mt="sm">
                  <Text size="sm" className="dim">
                    {w.foresee}
                  </Text>
                  <SegmentedControl
                    size="xs"
                    aria-label={w.foresee}
                    value={ahead}
                    onChange={(v) => change({ in: v })}
                    data={[{ value: '', label: w.today }, { value: '1h', label: w.hour }, { value: '1d', label: w.day }, { value: '7d', label: w.week }, { value: '30d', label: w.month }]}
                    className="wrap"
                  />
                  {retention && (
                    <Text size="sm" aria-live="polite">
                      {w.kept(f.number(retention.kept), f.number(retention.points.length), retention.keep)}
                    </Text>
                  )}
                </Group>
                <ProblemNote problem={foreseen.error} />
              </Section>
              {chosen && <Chosen group={name} sites={status.data ? [...new Set([status.data.site, status.data.target])].filter(Boolean) : []} point={chosen} proven={proven.has(chosen.id)} newest={chosen.id === all.at(-1)?.id} />}
              <List points={shown} proven={proven} gone={gone} chosen={chosen} onChoose={choose} />
              <Cli cmd={`understudy points list ${quote(name)}`} />
            </Stack>
          )
        }
      </Loaded>
    </Page>
  );
}

function Legend() {
  const w = useMessages(words);
  return (
    <Group gap="md">
      {kinds.map((k) => (
        <Group key={k} gap={6} wrap="nowrap">
          <span className="dot" style={{ background: kindColor[k], borderRadius: '50%' }} aria-hidden />
          <Text size="xs">{w[k]}</Text>
        </Group>
      ))}
      <Group gap={4} wrap="nowrap">
        <IconFlagFilled size={13} className="dim" aria-hidden />
        <Text size="xs">{w.named}</Text>
      </Group>
      <Group gap={4} wrap="nowrap">
        <IconShieldCheckFilled size={14} className="good" aria-hidden />
        <Text size="xs">{w.provenMark}</Text>
      </Group>
    </Group>
  );
}

function List({ points, proven, gone, chosen, onChoose }: { points: Point[]; proven: ReadonlySet<string>; gone: ReadonlySet<string>; chosen?: Point; onChoose: (p: Point) => void }) {
  const w = useMessages(words);
  const f = useFormat();
  const newest = useMemo(() => points.toReversed(), [points]);
  const rows = useRows(newest.length, 44);
  const columns = { gridTemplateColumns: 'minmax(10rem,1.2fr) minmax(9rem,1fr) minmax(6rem,1fr) 6rem 6rem' };
  return (
    <div className="sheet wide" style={{ padding: 0 }} role="table" aria-label={w.title} aria-rowcount={newest.length + 1}>
      <div className="row head" role="row" style={columns}>
        <span role="columnheader">{w.time}</span>
        <span role="columnheader">{w.kind}</span>
        <span role="columnheader" className="roomy">{w.names}</span>
        <span role="columnheader" className="end roomy">{w.changed}</span>
        <span role="columnheader" className="end roomy">{w.stored}</span>
      </div>
      <div className="rows" role="rowgroup" ref={rows.ref} style={{ height: rows.height }}>
        {newest.slice(rows.from, rows.to).map((p, n) => {
          const i = rows.from + n;
          return (
            <div key={p.id} className="row" role="row" aria-rowindex={i + 2} aria-selected={p.id === chosen?.id} style={{ ...columns, top: rows.top(i), height: 44 }}>
              <span role="cell">
                <button type="button" className="plain cover" onClick={() => onChoose(p)} aria-label={w.choose(f.dateTime(p.time))}>
                  <Time at={p.time} short />
                </button>
              </span>
              <span role="cell" className="cut">
                <span className="dot" style={{ background: kindColor[p.kind], borderRadius: '50%', marginInlineEnd: 6 }} aria-hidden />
                {w[p.kind as 'crash'] ?? p.kind}
                {gone.has(p.id) && <span className="dim"> · {w.dropped}</span>}
              </span>
              <span role="cell" className="cut roomy">
                {proven.has(p.id) && <IconShieldCheckFilled size={15} className="good" aria-label={w.provenMark} role="img" style={{ verticalAlign: '-2px', marginInlineEnd: 4 }} />}
                {p.names?.length ? (
                  <>
                    <IconFlagFilled size={13} className="dim" aria-hidden /> {p.names.join(', ')}
                  </>
                ) : null}
              </span>
              <span role="cell" className="end dim roomy">
                {f.bytes(p.changed)}
              </span>
              <span role="cell" className="end dim roomy">
                {f.bytes(p.bytes)}
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

