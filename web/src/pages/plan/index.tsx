// A recovery plan: drawn as it is carried out, edited with the checks that the command line makes, and what became of it.
import { Group, Select, SimpleGrid, Text } from '@mantine/core';
import { lazy, Suspense, useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { Link, navigate, useSearch } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { Loaded, Page, Scroll, Section } from '../../ui/page';
import { RunFact, type RunState } from '../../ui/run';
import { Time } from '../../ui/time';
import { Verified } from '../plans';
import { Editor } from './editor';
import { plan as words } from './messages';
import { template } from './template';

import './plan.css';

const Graph = lazy(() => import('./graph'));

export default function PlanPage({ params }: PageProps) {
  return params.plan === 'new' ? <NewPlan /> : <Known key={params.plan} name={params.plan ?? ''} />;
}

function Known({ name }: { name: string }) {
  const w = useMessages(words);
  const [editing, edit] = useState(false);
  const [removing, remove] = useState(false);
  const plan = useGet('/v1/plans/{name}', { path: { name } });
  const deletion = useAct('delete', '/v1/plans/{name}', { onDone: () => navigate('/plans') });
  const p = plan.data;
  return (
    <Page
      title={name}
      group={p?.group}
      way={[{ to: '/plans', label: w.plans }]}
      badges={p && <Verified plan={p} />}
      actions={
        p && (
          <>
            <Deed verb="test-failover" onClick={() => navigate(links.failover(p.group, { kind: 'test', plan: name }))}>
              {w.rehearse}
            </Deed>
            <Deed verb="failover" variant="default" onClick={() => navigate(links.failover(p.group, { plan: name }))}>
              {w.failOver}
            </Deed>
            {!editing && (
              <Deed verb="protect" variant="default" onClick={() => edit(true)}>
                {w.edit}
              </Deed>
            )}
            <Deed verb="protect" variant="default" onClick={() => remove(true)}>
              {w.remove}
            </Deed>
          </>
        )
      }
    >
      <Loaded from={plan}>
        {(p) => (
          <>
            <Text size="sm" className="dim">
              {w.versionText(p.version)} · <Link to={`/groups/${p.group}`} underline="always">{p.group}</Link> · <Time at={p.updated} short />
            </Text>
            {editing ? (
              <Editor text={p.text} file={`${name}.yaml`} onDone={() => edit(false)} />
            ) : (
              <SimpleGrid cols={{ base: 1, lg: 2 }}>
                <Section title={w.graph}>
                  <Suspense>
                    <Graph blocks={p.blocks} />
                  </Suspense>
                </Section>
                <Section title={w.text}>
                  <pre className="source" tabIndex={0} aria-label={w.text}>
                    {p.text}
                  </pre>
                </Section>
              </SimpleGrid>
            )}
            <History name={name} />
          </>
        )}
      </Loaded>
      <Confirm opened={removing} onClose={() => remove(false)} title={w.remove} action={w.remove} danger typed={name} busy={deletion.isPending} problem={deletion.error} cmd={`understudy plan delete ${name}`} onConfirm={() => deletion.mutate({ path: { name } })}>
        <Text size="sm">{w.removeText}</Text>
      </Confirm>
    </Page>
  );
}

function NewPlan() {
  const w = useMessages(words);
  const [search, change] = useSearch();
  const groups = useGet('/v1/groups');
  const group = groups.data?.find((g) => g.name === search.get('group'));
  return (
    <Page title={w.create} way={[{ to: '/plans', label: w.plans }]}>
      <Loaded from={groups}>
        {(list) => (
          <Group>
            <Select label={w.choose} data={list.map((g) => g.name)} value={group?.name ?? null} onChange={(v) => change({ group: v ?? undefined })} searchable w={280} />
          </Group>
        )}
      </Loaded>
      {group && <Editor key={group.name} text={template(group)} file="plan.yaml" unsaved onDone={(name) => navigate(name ? `/plans/${name}` : '/plans')} />}
    </Page>
  );
}

function History({ name }: { name: string }) {
  const w = useMessages(words);
  const history = useGet('/v1/plans/{name}/history', { path: { name } });
  return (
    <Section title={w.history}>
      <Loaded from={history}>
        {({ versions, runs }) => (
          <SimpleGrid cols={{ base: 1, md: 2 }}>
            <Scroll label={w.history}>
              <table className="table">
                <thead>
                  <tr>
                    <th>{w.version}</th>
                    <th>{w.at}</th>
                    <th>{w.by}</th>
                  </tr>
                </thead>
                <tbody>
                  {versions.map((v) => (
                    <tr key={v.version}>
                      <td>{v.version}</td>
                      <td>
                        <Time at={v.created} short />
                      </td>
                      <td>{v.by}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            {runs.length === 0 ? (
              <Text className="dim" size="sm">
                {w.noRuns}
              </Text>
            ) : (
              <Scroll label={w.runs}>
                <table className="table">
                  <thead>
                    <tr>
                      <th>{w.runs}</th>
                      <th>{w.version}</th>
                      <th>{w.state}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {runs.map((r) => (
                      <tr key={r.id}>
                        <td>
                          <Link to={`/runs/${r.id}`}>{r.id}</Link> <Time at={r.requested} short />
                        </td>
                        <td>{r.planVersion}</td>
                        <td>
                          <RunFact state={r.state as RunState} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )}
          </SimpleGrid>
        )}
      </Loaded>
    </Section>
  );
}
