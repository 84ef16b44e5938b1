// All runs, the newest first.
import { Button, Checkbox, Group, Select, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useAnswer } from '../../api/query';
import { Link, useSearch } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Empty } from '../../ui/empty';
import { useFormat } from '../../ui/format';
import { Loaded, Page } from '../../ui/page';
import { Table } from '../../ui/table';
import { RunFact, runKinds, type RunState, useRunKind } from '../../ui/run';
import { Time } from '../../ui/time';
import { runs } from './messages';

const first = 100;
const most = 1000;

export default function Runs() {
  const w = useMessages(runs);
  const f = useFormat();
  const kind = useRunKind();
  const [search, change] = useSearch();
  const [limit, setLimit] = useState(first);
  const active = search.get('active') === 'yes';
  const filtered = active || search.has('kind') || search.has('group');
  const list = useAnswer('/v1/runs', {
    query: { group: search.get('group') ?? undefined, kind: search.get('kind') ?? undefined, active: active || undefined, limit },
  });
  return (
    <Page title={w.title}>
      <Group gap="sm" align="end">
        <Select
          label={w.kind}
          data={[{ value: '', label: w.all }, ...runKinds.map((k) => ({ value: k, label: kind(k) }))]}
          value={search.get('kind') ?? ''}
          onChange={(v) => change({ kind: v ?? undefined })}
          allowDeselect={false}
          w={220}
        />
        <TextInput key={search.get('group') ?? ''} label={w.group} defaultValue={search.get('group') ?? ''} onBlur={(e) => change({ group: e.currentTarget.value })} onKeyDown={(e) => e.key === 'Enter' && e.currentTarget.blur()} w={180} />
        <Checkbox label={w.active} checked={active} onChange={(e) => change({ active: e.currentTarget.checked ? 'yes' : undefined })} mb={8} />
      </Group>
      <Loaded from={list}>
        {({ data }) =>
          data.length === 0 ? (
            filtered ? (
              <Empty title={w.noneTitle} action={<Button variant="default" onClick={() => change({ kind: undefined, group: undefined, active: undefined })}>{w.clear}</Button>}>
                {w.noneText}
              </Empty>
            ) : (
              <Empty title={w.emptyTitle} cmd="understudy failover GROUP --test">
                {w.emptyText}
              </Empty>
            )
          ) : (
            <>
              <Table
                label={w.title}
                rows={data}
                by={(r) => r.id}
                columns={[
                  { title: w.run, cell: (r) => <Link to={`/runs/${r.id}`}>{r.id}</Link> },
                  { title: w.kind, cell: (r) => kind(r.kind) },
                  { title: w.about, cell: (r) => (r.group ? <Link to={`/groups/${r.group}`}>{r.group}</Link> : r.about) },
                  { title: w.state, cell: (r) => <RunFact state={r.state as RunState} /> },
                  { title: w.begun, cell: (r) => <Time at={r.requested} short /> },
                  { title: w.took, n: true, cell: (r) => r.started && r.ended && f.duration((Date.parse(r.ended) - Date.parse(r.started)) / 1000) },
                  { title: w.by, cell: (r) => r.by },
                ]}
              />
              {data.length === limit && limit < most && (
                <Group justify="center" p="sm">
                  <Button variant="default" onClick={() => setLimit(Math.min(most, limit * 3))}>
                    {w.more}
                  </Button>
                </Group>
              )}
            </>
          )
        }
      </Loaded>
    </Page>
  );
}
