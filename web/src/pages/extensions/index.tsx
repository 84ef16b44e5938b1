// What machines were last seen to have, how healthy it is, and how to put it back.
import { Text } from '@mantine/core';
import { useState } from 'react';
import { useConnection } from '../../api/connection';
import { useAct, useGet } from '../../api/query';
import { Link, navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { Deed } from '../../ui/may';
import { Loaded, Page } from '../../ui/page';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { extensions as words } from './messages';

const tones: Record<string, Tone> = { healthy: 'good', unresponsive: 'bad', missing: 'bad', failed: 'bad' };

export default function Extensions() {
  const w = useMessages(words);
  const { reachable } = useConnection();
  const list = useGet('/v1/extensions');
  const catalogue = useGet('/v1/extension-catalogue');
  const [restoring, restore] = useState<string>();
  const act = useAct('post', '/v1/groups/{name}/extensions/restore', { onDone: (run) => navigate(`/runs/${run.id}`) });
  const state = (status?: string) => {
    const known = reachable && status ? status : 'unknown';
    return <Fact tone={tones[known] ?? 'idle'} mark={known === 'unknown' ? 'unknown' : undefined}>{(w as Record<string, unknown>)[known] as string ?? known}</Fact>;
  };
  return (
    <Page title={w.title}>
      <Loaded from={list}>
        {(data) => {
          const rows = data.flatMap((i) => i.extensions.map((e) => ({ ...i, e })));
          return rows.length === 0 ? (
            <Empty title={w.emptyTitle} cmd="understudy extension install EXTENSION --group GROUP --machine MACHINE">
              {w.emptyText}
            </Empty>
          ) : (
            <Table
              label={w.title}
              rows={rows}
              by={(r) => `${r.group}/${r.machine}/${r.e.name}`}
              columns={[
                { title: w.group, cell: (r) => <Link to={`/groups/${r.group}`}>{r.group}</Link> },
                { title: w.machine, cell: (r) => r.machine },
                { title: w.extension, cell: (r) => r.e.name },
                { title: w.version, cell: (r) => r.e.version },
                {
                  title: w.status,
                  cell: (r) => (
                    <>
                      {state(r.e.status)}
                      {r.e.message && (
                        <Text size="xs" className="dim">
                          {r.e.message}
                        </Text>
                      )}
                    </>
                  ),
                },
                { title: w.heartbeat, cell: (r) => <Time at={r.e.heartbeat} ago /> },
                { title: w.observed, cell: (r) => <Time at={r.observed} ago /> },
                {
                  n: true,
                  cell: (r) => (
                    <Deed verb="extend" on={{ group: r.group }} size="xs" variant="default" onClick={() => restore(r.group)}>
                      {w.restore}
                    </Deed>
                  ),
                },
              ]}
            />
          );
        }}
      </Loaded>
      <Loaded from={catalogue}>
        {(entries) => (
          <Table
            title={w.catalogue}
            label={w.catalogue}
            rows={entries}
            by={(e) => e.name}
            columns={[
              { title: w.extension, cell: (e) => <>{e.name} {e.builtin && <span className="dim">({w.builtin})</span>}</> },
              { title: w.version, cell: (e) => e.version },
              { title: w.description, cell: (e) => e.description },
            ]}
          />
        )}
      </Loaded>
      <Confirm opened={!!restoring} onClose={() => restore(undefined)} title={`${w.restore}: ${restoring}`} action={w.restore} busy={act.isPending} problem={act.error} cmd={`understudy extension restore ${restoring}`} onConfirm={() => restoring && act.mutate({ path: { name: restoring }, body: {} })}>
        <Text size="sm">{w.restoreText}</Text>
      </Confirm>
    </Page>
  );
}
