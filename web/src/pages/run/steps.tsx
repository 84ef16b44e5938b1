// The steps of a run as a list, with what they say, their attempts, and how far they are.
import { Group, Progress, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { useMessages } from '../../i18n/i18n';
import { useFormat } from '../../ui/format';
import { over, RunFact, type RunState, said } from '../../ui/run';
import { useNow } from '../../ui/time';
import { run as words } from './messages';

export type Step = Schemas['Step'];

export function Steps({ steps }: { steps: Step[] }) {
  return (
    <Stack component="ol" gap={0} style={{ listStyle: 'none', margin: 0, padding: 0 }}>
      {steps.map((s) => (
        <li key={s.name} style={{ borderTop: '1px solid var(--hair)', padding: '0.55rem 0' }}>
          <One step={s} />
        </li>
      ))}
    </Stack>
  );
}

/** Whether the message is worth a line: what a step found that is over may matter most, such as a machine that could not be held. What failed has its error. */
function tells(s: Step): boolean {
  const message = said(s.message);
  return !!message && (!over(s.state) || (s.state === 'succeeded' && !(s.title || s.name).includes(message)));
}

function One({ step: s }: { step: Step }) {
  const w = useMessages(words);
  const f = useFormat();
  const now = useNow();
  const live = s.state === 'running';
  const took = s.started ? ((s.ended ? Date.parse(s.ended) : live ? now : Date.parse(s.started)) - Date.parse(s.started)) / 1000 : 0;
  return (
    <Stack gap={4}>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="start">
        <Group gap="xs" align="start" style={{ minWidth: 0 }}>
          <RunFact state={s.state as RunState} />
          <Text size="sm" fw={live ? 600 : 450} style={{ overflowWrap: 'anywhere' }}>
            {s.title || s.name}
          </Text>
          {(s.attempts ?? 0) > 1 && (
            <Text size="xs" className="dim">
              {w.attempts(s.attempts ?? 0)}
            </Text>
          )}
        </Group>
        {s.started && (
          <Text size="sm" className="dim" style={{ whiteSpace: 'nowrap' }}>
            {f.duration(Math.max(0, took))}
          </Text>
        )}
      </Group>
      {tells(s) && (
        <Text size="sm" className="dim" style={{ overflowWrap: 'anywhere' }}>
          {said(s.message)}
        </Text>
      )}
      {live && !!s.total && (
        <Group gap="sm" wrap="nowrap">
          <Progress value={(100 * (s.done ?? 0)) / s.total} style={{ flex: 1 }} aria-label={s.title} />
          <Text size="xs" className="dim" style={{ whiteSpace: 'nowrap' }}>
            {f.bytes(s.done ?? 0)} / {f.bytes(s.total)}
            {!!s.rate && ` · ${f.rate(s.rate)}`}
            {s.eta && ` · ${w.left(s.eta)}`}
          </Text>
        </Group>
      )}
      {s.error && (
        <Text size="sm" className="bad" style={{ overflowWrap: 'anywhere' }}>
          {s.error}
          {s.hint && <span className="dim"> · {s.hint}</span>}
        </Text>
      )}
    </Stack>
  );
}
