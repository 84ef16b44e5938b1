// The machines of all sites, protected or not.
import { Button, Group, NativeSelect, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconShieldOff, IconX } from '@tabler/icons-react';
import { memo, useState } from 'react';
import type { Input, Schemas } from '../../api/client';
import { useAnswer, useGet, usePages } from '../../api/query';
import { links } from '../../app/links';
import { follow, Link, useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Fact } from '../../ui/badge';
import { Cli } from '../../ui/cli';
import { Empty } from '../../ui/empty';
import { factWords, HealthFact, healthTone, Lose } from '../../ui/facts';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded, Page } from '../../ui/page';
import { PowerFact } from '../../ui/power';
import { useRows } from '../../ui/rows';
import { Search } from '../../ui/search';
import { machines as words } from './messages';
import { Protect } from './protect';

type Machine = Schemas['MachineRow'];

/** How many machines are asked for at a time. */
const pageSize = 200;
const filters = ['q', 'site', 'group', 'provider', 'health', 'power', 'protected'] as const;

const byPlace = (m: Machine) => `${m.site}/${m.name}`;

export default function Machines() {
  const w = useMessages(words);
  const f = useFormat();
  const [search, change] = useSearch();
  const value = (key: string) => search.get(key) || undefined;
  // What is not among the words that the controller knows, it refuses with a reason.
  const query = { ...Object.fromEntries(filters.map((k) => [k, value(k)])), limit: pageSize } as NonNullable<Input<'/v1/machines', 'get'>['query']>;
  const list = usePages('/v1/machines', { query }, byPlace);
  const open = useAnswer('/v1/machines', { query: { protected: 'no', limit: 1 } });
  const unprotected = open.data?.total ?? open.data?.data.length ?? 0;
  const filtered = filters.some((k) => search.has(k));
  const [protecting, protect] = useState<Machine>();
  return (
    <Page title={w.title} badges={list.data && <Text className="dim">{w.found(f.number(list.total))}</Text>}>
      {unprotected > 0 && value('protected') !== 'no' && (
        <div className="note warn">
          <Group gap="xs" justify="space-between">
            <Text size="sm">
              <b>{w.unprotectedNote(f.number(unprotected))}.</b> {w.unprotectedText}
            </Text>
            <Link to="/machines?protected=no" fz="sm" underline="always" c="inherit">
              {w.showThem}
            </Link>
          </Group>
        </div>
      )}
      <Filters value={value} change={change} filtered={filtered} />
      <Loaded from={{ data: list.data && list.rows, error: list.error, isPending: list.isPending, refetch: list.refetch }}>
        {(rows) =>
          rows.length > 0 ? (
            <Table rows={rows} total={list.total} at={list.dataUpdatedAt} more={list.more} protect={protect} />
          ) : filtered ? (
            <Empty title={w.noneTitle}>{w.noneText}</Empty>
          ) : (
            <Empty title={w.emptyTitle} cmd="understudy site add east --provider qemu --set dir=/srv/east">
              {w.emptyText}
            </Empty>
          )
        }
      </Loaded>
      <Cli cmd="understudy machine list" />
      {protecting && <Protect site={protecting.site} machine={protecting.name} onClose={() => protect(undefined)} />}
    </Page>
  );
}

interface FiltersProps {
  value: (key: string) => string | undefined;
  change: (values: Record<string, string | undefined>) => void;
  filtered: boolean;
}

function Filters({ value, change, filtered }: FiltersProps) {
  const w = useMessages(words);
  const fw = useMessages(factWords);
  const sites = useGet('/v1/sites');
  const providers = [...new Set((sites.data ?? []).map((s) => s.provider))].sort();
  const pick = (key: string, label: string, options: { value: string; label: string }[]) => (
    <NativeSelect label={label} value={value(key) ?? ''} onChange={(e) => change({ [key]: e.currentTarget.value })} data={[{ value: '', label: w.any }, ...options]} size="sm" />
  );
  const plain = (names: string[]) => names.map((n) => ({ value: n, label: n }));
  return (
    <Group align="flex-end" gap="sm">
      <Search label={w.search} value={value('q') ?? ''} onSearch={(q) => change({ q })} />
      {pick('protected', w.protection, [{ value: 'no', label: w.protectedNo }, { value: 'yes', label: w.protectedYes }])}
      {pick('site', w.site, plain((sites.data ?? []).map((s) => s.name)))}
      {providers.length > 1 && pick('provider', w.provider, plain(providers))}
      {pick('power', w.power, (['on', 'off', 'paused', 'unknown'] as const).map((v) => ({ value: v, label: w[v] })))}
      {pick('health', fw.health, (Object.keys(healthTone) as (keyof typeof healthTone)[]).map((v) => ({ value: v, label: fw[v] })))}
      {value('group') && pick('group', w.group, plain([value('group') ?? '']))}
      {filtered && (
        <Button variant="subtle" leftSection={<IconX size={16} />} onClick={() => change(Object.fromEntries(filters.map((k) => [k, undefined])))}>
          {w.clear}
        </Button>
      )}
    </Group>
  );
}

const columns = { gridTemplateColumns: 'minmax(8rem,1.4fr) minmax(4.5rem,0.7fr) 7.5rem 11.5rem minmax(6.5rem,1fr) 9.5rem 7rem' };

interface TableProps {
  rows: Machine[];
  total: number;
  /** When they were asked for, ms. */
  at: number;
  more: () => void;
  protect: (m: Machine) => void;
}

function Table({ rows, total, at, more, protect }: TableProps) {
  const w = useMessages(words);
  const fw = useMessages(factWords);
  const narrow = !!useMediaQuery('(max-width: 62em)');
  const drawn = useRows(rows.length, narrow ? 108 : 52, { total, more });
  return (
    <div className="sheet" style={{ padding: 0 }} role="table" aria-label={w.title} aria-rowcount={total + 1}>
      {!narrow && (
        <div className="row head" role="row" style={columns}>
          <span role="columnheader">{w.machine}</span>
          <span role="columnheader">{w.site}</span>
          <span role="columnheader">{w.power}</span>
          <span role="columnheader">{w.size}</span>
          <span role="columnheader">{w.group}</span>
          <span role="columnheader">{fw.health}</span>
          <span role="columnheader" className="end">{w.lose}</span>
        </div>
      )}
      <div className="rows" role="rowgroup" ref={drawn.ref} style={{ height: drawn.height }}>
        {rows.slice(drawn.from, drawn.to).map((m, n) => (
          <Row key={`${m.site}/${m.name}`} m={m} at={at} index={drawn.from + n + 2} top={drawn.top(drawn.from + n)} narrow={narrow} protect={protect} />
        ))}
      </div>
    </div>
  );
}

interface RowProps {
  m: Machine;
  at: number;
  index: number;
  top: number;
  narrow: boolean;
  protect: (m: Machine) => void;
}

/** Scrolling draws rows that come into sight, and leaves the others alone. */
const Row = memo(function Row({ m, at, index, top, narrow, protect }: RowProps) {
  const w = useMessages(words);
  const f = useFormat();
  const place = { top, height: narrow ? 108 : 52 };
  const to = links.machine(m.site, m.name);
  // Above the link that covers the row.
  const above = { position: 'relative', zIndex: 1 } as const;
  const name = (
    <span role="cell" className="cut">
      <a href={to} onClick={follow(to)} className="cover">
        {m.name}
      </a>
      {narrow && <span className="dim"> · {m.site}</span>}
    </span>
  );
  const power = <PowerFact value={m.power} title={m.problem} />;
  const group = m.group ? (
    <Link to={links.group(m.group)} style={above}>
      {m.group}
    </Link>
  ) : (
    <Deed verb="protect" on={{ sites: [m.site] }} size="compact-xs" variant="default" leftSection={<IconShieldOff size={13} />} onClick={() => protect(m)} style={above}>
      {w.protect}
    </Deed>
  );
  const fact = m.health ? <HealthFact value={m.health} /> : <Fact tone="warn">{w.unprotected}</Fact>;
  const lose = m.group ? <Lose seconds={m.loseSeconds} at={at} /> : <span className="dim">–</span>;
  return narrow ? (
    <div className="row" role="row" aria-rowindex={index} style={{ ...place, gridTemplateColumns: 'minmax(0,1fr) auto', alignContent: 'center' }}>
      {name}
      <span role="cell" style={{ fontWeight: 600 }}>{lose}</span>
      <span role="cell" style={{ gridColumn: '1 / -1', display: 'flex', gap: 6, flexWrap: 'wrap', alignItems: 'center' }}>
        {power}
        {fact}
        {group}
      </span>
    </div>
  ) : (
    <div className="row" role="row" aria-rowindex={index} style={{ ...place, ...columns }}>
      {name}
      <span role="cell" className="cut dim">{m.site}</span>
      <span role="cell">{power}</span>
      <span role="cell" className="dim cut">
        {[m.cpus && w.cpus(m.cpus, f.bytes((m.memoryMiB ?? 0) * 2 ** 20)), f.bytes(m.diskBytes)].filter(Boolean).join(' · ')}
      </span>
      <span role="cell" className="cut">{group}</span>
      <span role="cell">{fact}</span>
      <span role="cell" className="end" style={{ fontWeight: 600 }}>{lose}</span>
    </div>
  );
});
