// Monitors of long operations of sites: whether the site answers, what runs there, and how far, step by step.
import { Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useConnection } from '../../api/connection';
import { useAct, useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { Time } from '../../ui/time';
import { monitors as words } from './messages';

type Monitor = Schemas['Monitor'];
type Operation = Schemas['Operation'];
type OperationStep = Schemas['OperationStep'];

const tones: Record<Operation['outcome'], Tone> = { waiting: 'idle', running: 'busy', succeeded: 'good', failed: 'bad', attention: 'warn', resolved: 'good' };

export default function Monitors() {
  const w = useMessages(words);
  const list = useGet('/v1/monitors');
  const [adding, add] = useState(false);
  return (
    <Page
      title={w.title}
      actions={
        <Deed verb="configure" onClick={() => add(true)}>
          {w.add}
        </Deed>
      }
    >
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.emptyTitle} cmd="understudy monitor add stack --site stack">
              {w.emptyText}
            </Empty>
          ) : (
            data.map((m) => <One key={m.name} monitor={m} />)
          )
        }
      </Loaded>
      {adding && <AddMonitor onClose={() => add(false)} />}
    </Page>
  );
}

function One({ monitor: m }: { monitor: Monitor }) {
  const w = useMessages(words);
  const { reachable } = useConnection();
  const [removing, remove] = useState(false);
  const removal = useAct('delete', '/v1/monitors/{name}', { onDone: () => remove(false) });
  // The list leaves the steps of operations out.
  const detail = useGet('/v1/monitors/{name}', { path: { name: m.name } });
  const operations = detail.data?.operations ?? m.operations ?? [];
  return (
    <Section
      title={m.name}
      aside={
        <Group gap="xs">
          {!reachable ? null : m.failures ? <Fact tone="bad">{w.silent}</Fact> : m.looked ? <Fact tone="good">{w.answers}</Fact> : <Fact tone="idle">{w.neverLooked}</Fact>}
          <Deed verb="configure" size="xs" variant="default" onClick={() => remove(true)}>
            {w.remove}
          </Deed>
        </Group>
      }
    >
      <Stack gap="sm">
        <Text size="sm" className="dim">
          {m.site} · {w.every} {m.every} · {w.answered} <Time at={m.looked} ago />
          {m.way && ` · ${w.way} ${m.way}`}
        </Text>
        {m.problem && (
          <div className="note bad" role="alert">
            <Text size="sm" fw={600} className="bad">
              {w.failures(m.failures ?? 0)}
            </Text>
            <Text size="sm">{m.problem}</Text>
          </div>
        )}
        <ProblemNote problem={detail.error} />
        {operations.length === 0 && <Text className="dim">{w.none}</Text>}
        {operations.map((o) => (
          <OneOperation key={o.id} operation={o} />
        ))}
      </Stack>
      <Confirm opened={removing} onClose={() => remove(false)} title={`${w.remove}: ${m.name}`} action={w.remove} danger busy={removal.isPending} problem={removal.error} cmd={`understudy monitor remove ${m.name}`} onConfirm={() => removal.mutate({ path: { name: m.name } })}>
        <Text size="sm">{w.removeText}</Text>
      </Confirm>
    </Section>
  );
}

function OneOperation({ operation: o }: { operation: Operation }) {
  const w = useMessages(words);
  const f = useFormat();
  return (
    <div style={{ borderTop: '1px solid var(--hair)', paddingTop: 8 }}>
      <Group justify="space-between" gap="xs">
        <Group gap="xs">
          <Fact tone={tones[o.outcome]} title={o.state}>
            {w[o.outcome]}
          </Fact>
          <Text size="sm" fw={550}>
            {o.title}
            {o.version && !o.title.includes(o.version) && ` ${o.version}`}
          </Text>
        </Group>
        <Text size="sm" className="dim">
          {o.started && <Time at={o.started} short />}
          {!!o.durationSeconds && ` · ${w.took} ${f.duration(o.durationSeconds)}`}
        </Text>
      </Group>
      {o.step && (
        <Text size="sm" className={o.outcome === 'failed' ? 'bad' : undefined}>
          {o.step}
        </Text>
      )}
      {o.message && (
        <Text size="sm" style={{ overflowWrap: 'anywhere' }}>
          {o.message}
        </Text>
      )}
      {(o.steps?.length ?? 0) > 0 && (
        <details open={o.outcome === 'running' || o.outcome === 'failed'}>
          <summary>{w.steps}</summary>
          <StepTree steps={o.steps ?? []} />
        </details>
      )}
    </div>
  );
}

/** What a status of a step means, whatever the site's case. */
function stepTone(status: string): Tone {
  const s = status.toLowerCase();
  return s === 'success' || s === 'succeeded' ? 'good' : s === 'error' || s === 'failed' ? 'bad' : s === 'inprogress' || s === 'running' ? 'busy' : 'idle';
}

function StepTree({ steps }: { steps: OperationStep[] }) {
  const f = useFormat();
  return (
    <ul style={{ listStyle: 'none', margin: 0, paddingInlineStart: 16 }}>
      {steps.map((s, i) => (
        <li key={`${s.index ?? i}/${s.name}`} style={{ paddingTop: 4 }}>
          <Group gap="xs" title={s.description}>
            <Fact tone={stepTone(s.status)}>{s.status}</Fact>
            <Text size="sm">
              {s.index && <span className="dim">{s.index} </span>}
              {s.name}
            </Text>
            {s.started && s.ended && (
              <Text size="xs" className="dim">
                {f.duration((Date.parse(s.ended) - Date.parse(s.started)) / 1000)}
              </Text>
            )}
          </Group>
          {s.message && (
            <Text size="sm" className="bad" style={{ overflowWrap: 'anywhere' }}>
              {s.message}
            </Text>
          )}
          {s.steps && <StepTree steps={s.steps} />}
        </li>
      ))}
    </ul>
  );
}

function AddMonitor({ onClose }: { onClose: () => void }) {
  const w = useMessages(words);
  const sites = useGet('/v1/sites');
  const [name, setName] = useState('');
  const [site, setSite] = useState<string | null>(null);
  const [every, setEvery] = useState('1m');
  const put = useAct('put', '/v1/monitors/{name}', { onDone: onClose });
  return (
    <Confirm opened onClose={onClose} title={w.add} action={w.add} busy={put.isPending} problem={put.error} cmd={`understudy monitor add ${quote(name || 'NAME')} --site ${site ?? 'SITE'} --every ${quote(every)}`} onConfirm={() => site && put.mutate({ path: { name }, body: { site, every } })}>
      <TextInput label={w.name} value={name} onChange={(e) => setName(e.currentTarget.value)} required spellCheck={false} />
      <Select label={w.site} data={(sites.data ?? []).map((s) => s.name)} value={site} onChange={setSite} required />
      <TextInput label={w.every} description={w.everyText} value={every} onChange={(e) => setEvery(e.currentTarget.value)} spellCheck={false} />
    </Confirm>
  );
}
