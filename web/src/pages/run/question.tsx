// What a run asks of a person, and the ways to answer.
import { Checkbox, Group, Stack, Text, Textarea, Title } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Deed } from '../../ui/may';
import { ProblemNote } from '../../ui/problem';
import { runVerb } from '../../ui/run';
import { Time } from '../../ui/time';
import { run as words } from './messages';

type Way = Schemas['Answer']['answer'];
const ways: Way[] = ['approve', 'retry', 'skip', 'reject'];

export function Question({ run, kind }: { run: string; kind: string }) {
  const w = useMessages(words);
  const question = useGet('/v1/runs/{name}/question', { path: { name: run } });
  const answer = useAct('post', '/v1/runs/{name}/answer');
  const [note, setNote] = useState('');
  const q = question.data;
  if (!q) return <ProblemNote problem={question.error} />;
  // Whoever may rehearse answers what a rehearsal asks; else approvals are for those who may approve.
  const verb = runVerb(kind);
  const open = ways.filter((way) => q.answers.includes(way));
  return (
    <section className="note warn" aria-live="polite">
      <Stack gap="sm">
        <Title order={2} className="warn">
          {w.asks}
        </Title>
        <Text fw={550}>
          {q.action}: {q.message}
        </Text>
        {q.answers.includes('confirm') && <Confirmation run={run} />}
        {q.until && (
          <Text size="sm">
            {w.until} <Time at={q.until} />
          </Text>
        )}
        {open.length > 0 && <Textarea label={open.includes('skip') ? w.reason : w.note} value={note} onChange={(e) => setNote(e.currentTarget.value)} autosize minRows={1} maxRows={4} />}
        <ProblemNote problem={answer.error} />
        <Group>
          {open.map((way) => (
            <Deed
              key={way}
              verb={verb === 'failover' && (way === 'approve' || way === 'reject') ? 'approve' : verb}
              reason={way === 'skip' && !note.trim() ? w.reason : undefined}
              variant={way === open[0] ? 'filled' : 'default'}
              loading={answer.isPending && answer.variables?.body?.answer === way}
              onClick={() => answer.mutate({ path: { name: run }, body: { answer: way, action: q.action, note: note || undefined } })}
            >
              {w[way]}
            </Deed>
          ))}
        </Group>
        {open[0] && <Cli cmd={`understudy run ${open[0]} ${run} --action ${quote(q.action)}${note ? ` --note ${quote(note)}` : ''}`} />}
      </Stack>
    </section>
  );
}

/** A move is not answered but confirmed: its source may be deleted with that. */
function Confirmation({ run }: { run: string }) {
  const w = useMessages(words);
  const confirm = useAct('post', '/v1/runs/{name}/confirm');
  const [remove, setRemove] = useState(false);
  return (
    <>
      <Checkbox label={w.deleteSource} checked={remove} onChange={(e) => setRemove(e.currentTarget.checked)} />
      <ProblemNote problem={confirm.error} />
      <Group>
        <Deed verb="copy" loading={confirm.isPending} onClick={() => confirm.mutate({ path: { name: run }, body: { deleteSource: remove || undefined } })}>
          {w.confirmMove}
        </Deed>
      </Group>
      <Cli cmd={`understudy move confirm ${run}${remove ? ' --delete-source' : ''}`} />
    </>
  );
}
