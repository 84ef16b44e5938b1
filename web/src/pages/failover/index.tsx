// A failover, step by step: what kind, from which point, what would happen and what stands in the way, and then the deed. What
// was chosen is in the address, so that a second person can be shown the same.
import { Button, Group, Radio, Select, SimpleGrid, Stack, Stepper, Text, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { ask, type Problem, type Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { navigate, useSearch } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { failover as words } from './messages';
import { Points } from './points';
import { Review } from './review';

export type Kind = Schemas['Failover']['kind'];
/** In the address, where it was chosen to go by no plan; the name of none. */
const noPlan = '-';
const kinds: Kind[] = ['test', 'planned', 'unplanned'];

export default function FailoverPage({ params }: PageProps) {
  const group = params.group ?? '';
  const w = useMessages(words);
  const [search, change] = useSearch();
  const status = useGet('/v1/groups/{name}/status', { path: { name: group } });
  const plans = useGet('/v1/plans', { query: { group } });
  const kind = kinds.find((k) => k === search.get('kind'));
  const point = search.get('point') ?? 'latest';
  // By the group's recovery plan, unless it was said otherwise.
  const named = search.get('plan') ?? plans.data?.[0]?.name;
  const plan = named === noPlan ? undefined : named;
  // What was already chosen need not be asked again.
  const [step, go] = useState(kind ? 1 : 0);
  const [typed, type] = useState('');
  const choice = { kind: kind ?? 'test', point: kind === 'planned' ? undefined : point, plan };
  const preview = useQuery<Schemas['Preview'], Problem>({
    queryKey: ['/v1/groups/{name}/failover/preview', { path: { name: group }, ...choice }],
    queryFn: async ({ signal }) => (await ask('post', '/v1/groups/{name}/failover/preview', { path: { name: group }, body: choice }, { signal })).data,
    enabled: step >= 2 && !!kind && !plans.isPending,
    placeholderData: undefined,
  });
  const begin = useAct('post', '/v1/groups/{name}/failover', { onDone: (run) => navigate(`/runs/${run.id}`) });
  const p = preview.data;
  const cmd = command(group, choice);
  return (
    <Page
      group={group}
      title={p?.direction === 'failback' ? w.back(group) : w.title(group)}
      way={[
        { to: '/groups', label: w.groups },
        { to: `/groups/${group}`, label: group },
      ]}
    >
      <Loaded from={status}>
        {() => (
          <>
            <Stepper active={step} onStepClick={(n) => n < step && go(n)} size="sm" allowNextStepsSelect={false} visibleFrom="sm">
              {[w.kind, w.point, w.review, w.confirm].map((label) => (
                <Stepper.Step key={label} label={label} />
              ))}
            </Stepper>
            <Text hiddenFrom="sm" className="dim">
              {step + 1} / 4
            </Text>
            {/* Without them it would go by no plan, unseen. */}
            <ProblemNote problem={plans.error} again={() => void plans.refetch()} />
            {step === 0 && (
              <Section title={w.kind}>
                <Radio.Group value={kind ?? ''} onChange={(v) => change({ kind: v })} aria-label={w.kind}>
                  <SimpleGrid cols={{ base: 1, md: 3 }}>
                    {kinds.map((k) => (
                      <Radio.Card key={k} value={k} p="md" radius="md" display="flex" style={{ alignItems: 'flex-start' }}>
                        <Group wrap="nowrap" align="start">
                          <Radio.Indicator />
                          <div>
                            <Text fw={600}>{w[k]}</Text>
                            <Text size="sm" className="dim">
                              {w[`${k}Text`]}
                            </Text>
                          </div>
                        </Group>
                      </Radio.Card>
                    ))}
                  </SimpleGrid>
                </Radio.Group>
              </Section>
            )}
            {step === 1 && (
              <Section title={w.point}>
                <Stack>
                  {kind === 'planned' ? <Text>{w.plannedPoint}</Text> : <Points group={group} value={point} onChange={(v) => change({ point: v })} />}
                  {(plans.data?.length ?? 0) > 0 && (
                    <Select label={w.plan} data={[...(plans.data ?? []).map((one) => one.name), { value: noPlan, label: w.noPlan }]} value={plan ?? noPlan} onChange={(v) => change({ plan: v ?? undefined })} allowDeselect={false} maw={360} />
                  )}
                </Stack>
              </Section>
            )}
            {step >= 2 && (
              <>
                <ProblemNote problem={preview.error} again={() => void preview.refetch()} />
                {preview.isPending && !preview.error && <Text role="status">{w.looking}</Text>}
                {p && step === 2 && <Review preview={p} kind={choice.kind} />}
                {p && step === 3 && (
                  <Section title={w.confirm}>
                    <Stack maw={560}>
                      <Text fw={600}>
                        {w[choice.kind]}: {p.source} → {p.target}
                      </Text>
                      <Text size="sm">{w[`${choice.kind}Text`]}</Text>
                      {kind !== 'test' && <TextInput label={w.typed(group)} value={typed} onChange={(e) => type(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />}
                      <ProblemNote problem={begin.error} />
                    </Stack>
                  </Section>
                )}
              </>
            )}
            <Group justify="space-between">
              <Button variant="default" disabled={step === 0} onClick={() => go(step - 1)}>
                {w.previous}
              </Button>
              {step < 3 ? (
                <Button disabled={!kind || (step === 2 && (!p || !!p.refused))} onClick={() => go(step + 1)}>
                  {w.next}
                </Button>
              ) : (
                <Deed
                  verb={kind === 'test' ? 'test-failover' : 'failover'}
                  color={kind === 'unplanned' ? 'red.8' : undefined}
                  reason={kind !== 'test' && typed !== group ? w.typed(group) : undefined}
                  loading={begin.isPending}
                  onClick={() => begin.mutate({ path: { name: group }, body: choice })}
                >
                  {kind === 'test' ? w.goTest : kind === 'planned' ? w.goPlanned : w.goUnplanned}
                </Deed>
              )}
            </Group>
            {kind && <Cli cmd={step < 3 && kind !== 'test' ? `${cmd} --dry-run` : cmd} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

function command(group: string, c: { kind: Kind; point?: string; plan?: string }): string {
  return `understudy failover ${quote(group)} --${c.kind}${c.point && c.point !== 'latest' ? ` --point ${quote(c.point)}` : ''}${c.plan ? ` --plan ${quote(c.plan)}` : ''}`;
}
