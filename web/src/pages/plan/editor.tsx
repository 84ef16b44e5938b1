// A plan's text, checked by the controller while it is written.
import { Group, SimpleGrid, Stack, Text, Textarea } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useRef, useState } from 'react';
import { ask, type Problem } from '../../api/client';
import type { Schemas } from '../../api/client';
import { useAct } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Fact } from '../../ui/badge';
import { Cli } from '../../ui/cli';
import { Deed } from '../../ui/may';
import { Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { plan as words } from './messages';

const Graph = lazy(() => import('./graph'));

interface Props {
  text: string;
  file: string;
  /** It was never saved, so that it may be saved as it is. */
  unsaved?: boolean;
  /** Called with the plan's name when it was saved, without when it was given up. */
  onDone: (saved?: string) => void;
}

export function Editor({ text: before, file, unsaved, onDone }: Props) {
  const w = useMessages(words);
  const [text, setText] = useState(before);
  const [settled] = useDebouncedValue(text, 400);
  const area = useRef<HTMLTextAreaElement>(null);
  const check = useQuery<Schemas['PlanCheck'], Problem>({
    queryKey: ['/v1/plan-checks', settled],
    queryFn: async ({ signal }) => (await ask('post', '/v1/plan-checks', { body: { file, text: settled } }, { signal })).data,
    enabled: settled !== '',
    staleTime: Infinity,
  });
  const save = useAct('put', '/v1/plans', { onDone: (p) => onDone(p.name) });
  const problems = check.data?.problems ?? [];
  const checked = settled === text && !check.isPlaceholderData && check.data !== undefined;
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }}>
      <Section title={w.text}>
        <Stack gap="sm">
          <Textarea ref={area} value={text} onChange={(e) => setText(e.currentTarget.value)} autosize minRows={18} maxRows={36} spellCheck={false} aria-label={w.text} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: 13, whiteSpace: 'pre', overflowX: 'auto' } }} />
          <div aria-live="polite">
            {problems.length > 0 && <Fact tone="bad">{w.faults(problems.length)}</Fact>}
            {checked && problems.length === 0 && <Fact tone="good">{w.faultless}</Fact>}
          </div>
          {problems.map((p) => (
            <button key={p.text} type="button" className="plain" onClick={() => area.current && select(area.current, p.line ?? 1, p.column ?? 1)}>
              <Text size="sm" className="bad">
                {p.line ? `${w.line(p.line, p.column ?? 1)}: ` : ''}
                {p.field && <code>{p.field}</code>} {p.what}
              </Text>
              {p.hint && (
                <Text size="sm" className="dim">
                  {p.hint}
                </Text>
              )}
            </button>
          ))}
          {(check.data?.warnings.length ?? 0) > 0 && (
            <div className="note warn">
              <Text size="sm" fw={600}>
                {w.warnings}
              </Text>
              {check.data?.warnings.map((one) => (
                <Text size="sm" key={one}>
                  {one}
                </Text>
              ))}
            </div>
          )}
          <ProblemNote problem={save.error ?? check.error} />
          <Group>
            <Deed verb="protect" reason={problems.length > 0 ? w.faults(problems.length) : !unsaved && text === before ? w.same : undefined} loading={save.isPending} onClick={() => save.mutate({ body: { file, text } })}>
              {w.save}
            </Deed>
            <Deed verb="read" variant="default" onClick={() => onDone()}>
              {w.discard}
            </Deed>
          </Group>
          <Cli cmd={`understudy plan apply ${file}`} />
        </Stack>
      </Section>
      <Section title={w.graph}>
        <Suspense>{check.data && check.data.blocks.length > 0 ? <Graph blocks={check.data.blocks} /> : <Text className="dim">{w.nothing}</Text>}</Suspense>
      </Section>
    </SimpleGrid>
  );
}

/** Puts the cursor where a fault is. */
function select(area: HTMLTextAreaElement, line: number, column: number) {
  const lines = area.value.split('\n');
  const start = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
  const at = start + Math.min(column - 1, lines[line - 1]?.length ?? 0);
  area.focus();
  area.setSelectionRange(at, start + (lines[line - 1]?.length ?? 0));
}
