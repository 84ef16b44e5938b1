// One run: what it asks, its steps as a list or on a timeline, what came of it, and what comes next.
import './run.css';
import { Button, Group, SegmentedControl, SimpleGrid, Text } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import type { Schemas } from '../../api/client';
import { Link } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Confirm } from '../../ui/confirm';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { over, RunFact, type RunState, runVerb, said, useRunKind } from '../../ui/run';
import { Time, useNow } from '../../ui/time';
import { Evidence } from './evidence';
import { run as words } from './messages';
import { After } from './next';
import { Question } from './question';
import { Steps } from './steps';
import { Timeline } from './timeline';

export type Run = Schemas['Run'];

export default function RunPage({ params }: PageProps) {
  const name = params.run ?? '';
  const w = useMessages(words);
  const kind = useRunKind();
  const run = useGet('/v1/runs/{name}', { path: { name } }, { every: 2000 });
  const r = run.data;
  const [cancelling, setCancelling] = useState(false);
  const cancel = useAct('post', '/v1/runs/{name}/cancel', { onDone: () => setCancelling(false) });
  return (
    <Page
      group={r?.group}
      title={r ? w.of(kind(r.kind), r.group || r.about || r.id) : name}
      way={[{ to: '/runs', label: w.runs }]}
      badges={r && <RunFact state={r.state as RunState} />}
      actions={
        r && (
          <>
            {over(r.state) && (
              <Button component="a" href={`/v1/runs/${encodeURIComponent(name)}/report`} target="_blank" rel="noopener" variant="default">
                {w.report}
              </Button>
            )}
            {!over(r.state) && (
              <Deed verb={runVerb(r.kind)} variant="default" color="red" onClick={() => setCancelling(true)}>
                {w.cancel}
              </Deed>
            )}
          </>
        )
      }
    >
      <Loaded from={run}>{(r) => <Shown run={r} />}</Loaded>
      <Confirm
        opened={cancelling}
        onClose={() => setCancelling(false)}
        title={w.cancel}
        action={w.cancel}
        danger
        busy={cancel.isPending}
        problem={cancel.error}
        cmd={`understudy run cancel ${name}`}
        onConfirm={() => cancel.mutate({ path: { name } })}
      >
        <Text size="sm">{w.cancelText}</Text>
      </Confirm>
    </Page>
  );
}

function Shown({ run: r }: { run: Run }) {
  const w = useMessages(words);
  const status = useGet('/v1/groups/{name}/status', { path: { name: r.group } }, { enabled: !!r.group && over(r.state) });
  const [view, setView] = useState('list');
  const steps = r.steps ?? [];
  return (
    <>
      {r.state === 'waiting' && <Question run={r.id} kind={r.kind} />}
      {r.error && (
        <div className="note bad" role="alert">
          <Text fw={600} className="bad">
            {r.error}
          </Text>
          {r.hint && <Text size="sm">{r.hint}</Text>}
        </div>
      )}
      {status.data && over(r.state) && <After run={r} status={status.data} />}
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Summary run={r} />
        <Outcome run={r} />
      </SimpleGrid>
      <Section
        title={w.steps}
        aside={
          <SegmentedControl
            size="xs"
            value={view}
            onChange={setView}
            data={[
              { value: 'list', label: w.asTable },
              { value: 'timeline', label: w.asTimeline },
            ]}
          />
        }
      >
        {steps.length === 0 ? <Text className="dim">{w.noSteps}</Text> : view === 'list' ? <Steps steps={steps} /> : <Timeline steps={steps} />}
      </Section>
      {r.kind === 'drill' && over(r.state) && <Evidence run={r.id} />}
    </>
  );
}

function Summary({ run: r }: { run: Run }) {
  const w = useMessages(words);
  const f = useFormat();
  const now = useNow();
  return (
    <Section title={w.summary}>
      <dl className="pairs">
        {r.group && (
          <>
            <dt>{w.group}</dt>
            <dd>
              <Link to={`/groups/${r.group}`}>{r.group}</Link>
            </dd>
          </>
        )}
        {r.point && (
          <>
            <dt>{w.point}</dt>
            <dd>{text(r.result, 'point') ?? r.point}</dd>
          </>
        )}
        {r.plan && (
          <>
            <dt>{w.plan}</dt>
            <dd>
              <Link to={`/plans/${r.plan}`}>{r.plan}</Link>
            </dd>
          </>
        )}
        <dt>{w.by}</dt>
        <dd>{r.by || '–'}</dd>
        <dt>{w.begun}</dt>
        <dd>
          <Time at={r.started ?? r.requested} />
        </dd>
        {r.ended && (
          <>
            <dt>{w.ended}</dt>
            <dd>
              <Time at={r.ended} />
            </dd>
          </>
        )}
        <dt>{r.ended ? w.took : w.running}</dt>
        <dd>{f.duration(Math.max(0, ((r.ended ? Date.parse(r.ended) : now) - Date.parse(r.started ?? r.requested)) / 1000))}</dd>
      </dl>
      {!over(r.state) && (
        <Text size="sm" className="dim" mt="sm">
          {w.safe}
        </Text>
      )}
    </Section>
  );
}

function Outcome({ run: r }: { run: Run }) {
  const w = useMessages(words);
  const f = useFormat();
  const rto = number(r.result, 'rtoSeconds');
  const rpo = number(r.result, 'rpoSeconds');
  return (
    <Section title={w.result}>
      {rto || rpo ? (
        <Group gap="xl">
          {rto !== undefined && (
            <div>
              <div className="big">{f.duration(rto)}</div>
              <Text size="sm" className="dim">
                {w.rto}
              </Text>
            </div>
          )}
          {rpo !== undefined && (
            <div>
              <div className="big">{f.duration(rpo)}</div>
              <Text size="sm" className="dim">
                {w.rpo}
              </Text>
            </div>
          )}
        </Group>
      ) : (
        <Text className="dim">{said(r.message) || '–'}</Text>
      )}
    </Section>
  );
}

function number(result: Run['result'], key: string): number | undefined {
  const v = result?.[key];
  return typeof v === 'number' ? v : undefined;
}

function text(result: Run['result'], key: string): string | undefined {
  const v = result?.[key];
  return typeof v === 'string' && v !== '' ? v : undefined;
}
