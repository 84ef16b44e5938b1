import { Button, Group, NativeSelect, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconArrowNarrowRight, IconX } from '@tabler/icons-react';
import { memo } from 'react';
import type { Input, Schemas } from '../../api/client';
import { useGet, usePages } from '../../api/query';
import { links } from '../../app/links';
import { follow, useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Cli } from '../../ui/cli';
import { Empty } from '../../ui/empty';
import { factWords, HealthFact, healthTone, Lose, RecoverabilityFact, recoverabilityTone, ReplicationFact, replicationTone } from '../../ui/facts';
import { useFormat } from '../../ui/format';
import { Loaded, Page } from '../../ui/page';
import { useRows } from '../../ui/rows';
import { Search } from '../../ui/search';
import { groups } from './messages';

/** How many groups are asked for at a time. */
const pageSize = 200;

const facts = { health: Object.keys(healthTone), replicating: Object.keys(replicationTone), recoverability: Object.keys(recoverabilityTone) };

const byGroup = (s: Schemas['Status']) => s.group;

export default function Groups() {
  const w = useMessages(groups);
  const f = useFormat();
  const [search, change] = useSearch();
  const value = (key: string) => search.get(key) || undefined;
  // What is not among the words that the controller knows, it refuses with a reason.
  const query = {
    q: value('q'), health: value('health'), replicating: value('replicating'), recoverability: value('recoverability'), site: value('site'),
    sort: value('sort') ?? 'health', limit: pageSize,
  } as NonNullable<Input<'/v1/status', 'get'>['query']>;
  const list = usePages('/v1/status', { query }, byGroup);
  const filtered = ['q', 'health', 'replicating', 'recoverability', 'site'].some((k) => search.has(k));

  return (
    <Page title={w.title} badges={list.data && <Text className="dim">{w.found(f.number(list.total))}</Text>}>
      <Filters value={value} change={change} filtered={filtered} />
      <Loaded from={{ data: list.data && list.rows, error: list.error, isPending: list.isPending, refetch: list.refetch }}>
        {(rows) =>
          rows.length > 0 ? (
            <Table rows={rows} total={list.total} at={list.dataUpdatedAt} more={list.more} />
          ) : filtered ? (
            <Empty title={w.noneTitle}>{w.noneText}</Empty>
          ) : (
            <Empty title={w.emptyTitle} cmd="understudy protect --group shop --site east --target west --vault main --machine shop-db">
              {w.emptyText}
            </Empty>
          )
        }
      </Loaded>
      <Cli cmd="understudy status" />
    </Page>
  );
}

interface FiltersProps {
  value: (key: string) => string | undefined;
  change: (values: Record<string, string | undefined>) => void;
  filtered: boolean;
}

function Filters({ value, change, filtered }: FiltersProps) {
  const w = useMessages(groups);
  const fw = useMessages(factWords);
  const words = fw as unknown as Record<string, string>;
  const sites = useGet('/v1/sites');
  const pick = (key: string, label: string, options: string[]) => (
    <NativeSelect
      label={label}
      value={value(key) ?? ''}
      onChange={(e) => change({ [key]: e.currentTarget.value })}
      data={[{ value: '', label: w.any }, ...options.map((o) => ({ value: o, label: words[o] ?? o }))]}
      size="sm"
    />
  );
  return (
    <Group align="flex-end" gap="sm">
      <Search label={w.search} value={value('q') ?? ''} onSearch={(q) => change({ q })} />
      {pick('health', fw.health, facts.health)}
      {pick('replicating', fw.replication, facts.replicating)}
      {pick('recoverability', fw.recoverability, facts.recoverability)}
      {pick('site', w.site, (sites.data ?? []).map((s) => s.name))}
      <NativeSelect
        label={w.sort}
        value={value('sort') ?? 'health'}
        onChange={(e) => change({ sort: e.currentTarget.value === 'health' ? undefined : e.currentTarget.value })}
        data={[{ value: 'health', label: w.byHealth }, { value: 'lag', label: w.byLag }, { value: 'name', label: w.byName }]}
      />
      {filtered && (
        <Button
          variant="subtle"
          leftSection={<IconX size={16} />}
          onClick={() => change({ q: undefined, health: undefined, replicating: undefined, recoverability: undefined, site: undefined })}
        >
          {w.clear}
        </Button>
      )}
    </Group>
  );
}

const columns = { gridTemplateColumns: 'minmax(7rem,1.4fr) 8rem 5rem 7.5rem 11.5rem 11.5rem minmax(8.5rem,1fr)' };

interface TableProps {
  rows: Schemas['Status'][];
  total: number;
  /** When they were asked for, ms. */
  at: number;
  more: () => void;
}

function Table({ rows, total, at, more }: TableProps) {
  const w = useMessages(groups);
  const fw = useMessages(factWords);
  const narrow = !!useMediaQuery('(max-width: 62em)');
  const drawn = useRows(rows.length, narrow ? 112 : 52, { total, more });
  return (
    <div className="sheet" style={{ padding: 0 }} role="table" aria-label={w.title} aria-rowcount={total + 1}>
      {!narrow && (
        <div className="row head" role="row" style={columns}>
          <span role="columnheader">{w.group}</span>
          <span role="columnheader" className="end">{w.lose}</span>
          <span role="columnheader" className="end">{w.objective}</span>
          <span role="columnheader">{fw.health}</span>
          <span role="columnheader">{fw.replication}</span>
          <span role="columnheader">{fw.recoverability}</span>
          <span role="columnheader">{w.where}</span>
        </div>
      )}
      <div className="rows" role="rowgroup" ref={drawn.ref} style={{ height: drawn.height }}>
        {rows.slice(drawn.from, drawn.to).map((s, n) => (
          <Row key={s.group} s={s} at={at} index={drawn.from + n + 2} top={drawn.top(drawn.from + n)} narrow={narrow} />
        ))}
      </div>
    </div>
  );
}

/** Scrolling draws rows that come into sight, and leaves the others alone. */
const Row = memo(function Row({ s, at, index, top, narrow }: { s: Schemas['Status']; at: number; index: number; top: number; narrow: boolean }) {
  const f = useFormat();
  const place = { top, height: narrow ? 112 : 52 };
  const lose = <Lose seconds={s.loseSeconds} at={at} />;
  const where = (
    <span role="cell" className="cut dim">
      {s.site} <IconArrowNarrowRight size={14} style={{ verticalAlign: '-2px' }} aria-hidden /> {s.target}
    </span>
  );
  const name = (
    <span role="cell" className="cut">
      <a href={links.group(s.group)} onClick={follow(links.group(s.group))} className="cover">
        {s.group}
      </a>
    </span>
  );
  return narrow ? (
    <div className="row" role="row" aria-rowindex={index} style={{ ...place, gridTemplateColumns: '1fr auto', alignContent: 'center' }}>
      {name}
      <span role="cell" className={s.rpoMet ? '' : 'warn'} style={{ fontWeight: 600 }}>
        {lose}
      </span>
      <span role="cell" style={{ gridColumn: '1 / -1', display: 'flex', gap: 6, flexWrap: 'wrap' }}>
        <HealthFact value={s.health} />
        <ReplicationFact value={s.replicating} />
        <RecoverabilityFact value={s.recoverability} />
      </span>
    </div>
  ) : (
    <div className="row" role="row" aria-rowindex={index} style={{ ...place, ...columns }}>
      {name}
      <span role="cell" className={`end ${s.rpoMet ? '' : 'warn'}`} style={{ fontWeight: 600 }}>
        {lose}
      </span>
      <span role="cell" className="end dim">
        {f.duration(s.rpoSeconds)}
      </span>
      <span role="cell">
        <HealthFact value={s.health} title={s.healthReason} />
      </span>
      <span role="cell">
        <ReplicationFact value={s.replicating} />
      </span>
      <span role="cell">
        <RecoverabilityFact value={s.recoverability} />
      </span>
      {where}
    </div>
  );
});
