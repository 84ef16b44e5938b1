import { Button, Group, Progress, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconCameraPlus, IconHistory, IconPlayerPause, IconPlayerPlay, IconTestPipe } from '@tabler/icons-react';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { follow, Link, navigate } from '../../app/router';
import type { PageProps } from '../../app/routes';
import { useMessages } from '../../i18n/i18n';
import { Cli, quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { HealthFact, Lose, RecoverabilityFact, ReplicationFact } from '../../ui/facts';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Loaded, Page, Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { Time } from '../../ui/time';
import { Events, Extensions, Machines, Settings } from './details';
import { Drill } from './drill';
import { History } from './history';
import { Next, waits } from '../run/next';
import { group as words } from './messages';

export default function GroupPage({ params }: PageProps) {
  const name = params.name ?? '';
  const w = useMessages(words);
  const input = { path: { name } };
  const status = useGet('/v1/groups/{name}/status', input);
  const protection = useGet('/v1/groups/{name}', input);
  return (
    <Page
      title={name}
      group={name}
      way={[{ to: '/groups', label: w.groups }]}
      badges={
        status.data && (
          <Group gap={6}>
            <HealthFact value={status.data.health} title={status.data.healthReason} />
            <ReplicationFact value={status.data.replicating} />
            <RecoverabilityFact value={status.data.recoverability} />
          </Group>
        )
      }
      actions={status.data && <Actions s={status.data} />}
    >
      <Loaded from={status}>
        {(s) => (
          <Stack gap="md">
            <Notes s={s} />
            {waits(s) && <Next status={s} />}
            <Answer s={s} at={status.dataUpdatedAt} />
            <History name={name} rpo={s.rpoSeconds} />
            <Loaded from={protection}>
              {(g) => (
                <>
                  <Machines g={g} />
                  <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
                    <Settings g={g} s={s} />
                    <Extensions name={name} />
                  </SimpleGrid>
                </>
              )}
            </Loaded>
            <Events name={name} />
            <Cli cmd={`understudy status ${quote(name)}`} />
          </Stack>
        )}
      </Loaded>
    </Page>
  );
}

function Actions({ s }: { s: Schemas['Status'] }) {
  const w = useMessages(words);
  const [asks, setAsks] = useState<'pause' | 'test'>();
  const close = () => setAsks(undefined);
  const input = { path: { name: s.group } };
  const sync = useAct('post', '/v1/groups/{name}/sync');
  const pause = useAct('post', '/v1/groups/{name}/pause', { onDone: close });
  const resume = useAct('post', '/v1/groups/{name}/resume');
  const test = useAct('post', '/v1/groups/{name}/failover', {
    onDone: (run) => {
      close();
      const to = links.run(run.id);
      if (to) navigate(to);
    },
  });
  const g = quote(s.group);
  const may = (op: string) => !!s.allowed?.includes(op);
  return (
    <>
      <Button variant="default" size="sm" component="a" href={links.points(s.group)} onClick={follow(links.points(s.group))} leftSection={<IconHistory size={16} />}>
        {w.points}
      </Button>
      {(may('pause') || may('resume')) && (
        <Deed verb="replicate" variant="default" size="sm" leftSection={<IconCameraPlus size={16} />} loading={sync.isPending} onClick={() => sync.mutate(input)}>
          {w.sync}
        </Deed>
      )}
      {may('pause') && (
        <Deed verb="replicate" variant="default" size="sm" leftSection={<IconPlayerPause size={16} />} onClick={() => setAsks('pause')}>
          {w.pause}
        </Deed>
      )}
      {may('resume') && (
        <Deed verb="replicate" variant="default" size="sm" leftSection={<IconPlayerPlay size={16} />} loading={resume.isPending} onClick={() => resume.mutate(input)}>
          {w.resume}
        </Deed>
      )}
      {may('test-failover') && (
        <>
          <Deed verb="test-failover" variant="default" size="sm" leftSection={<IconTestPipe size={16} />} onClick={() => setAsks('test')}>
            {w.test}
          </Deed>
          <Drill group={s.group} />
        </>
      )}
      {(may('failover') || may('planned-failover')) && (
        <Deed verb="failover" size="sm" variant={waits(s) ? 'default' : 'filled'} onClick={() => navigate(links.failover(s.group))}>
          {w.unplanned}
        </Deed>
      )}
      <Confirm opened={asks === 'pause'} onClose={close} title={w.pauseTitle} action={w.pause} onConfirm={() => pause.mutate(input)} busy={pause.isPending} problem={pause.error} cmd={`understudy pause ${g}`}>
        <Text size="sm">{w.pauseText}</Text>
      </Confirm>
      <Confirm
        opened={asks === 'test'}
        onClose={close}
        title={w.testTitle}
        action={w.test}
        onConfirm={() => test.mutate({ ...input, body: { kind: 'test' } })}
        busy={test.isPending}
        problem={test.error}
        cmd={`understudy failover ${g} --test`}
      >
        <Text size="sm">{w.testText(s.target)}</Text>
      </Confirm>
      <div style={{ flexBasis: '100%', display: sync.error || resume.error ? undefined : 'none' }}>
        <ProblemNote problem={sync.error ?? resume.error} />
      </div>
    </>
  );
}

/** What is wrong, with what helps. */
function Notes({ s }: { s: Schemas['Status'] }) {
  const w = useMessages(words);
  const f = useFormat();
  const run = s.waiting && links.run(s.waiting);
  const active = s.active && links.run(s.active);
  return (
    <>
      {s.splitBrain?.length ? (
        <div className="note bad" role="alert">
          <Text fw={600} className="bad">
            {w.split}: {s.splitBrain.join(', ')}
          </Text>
          <Text size="sm">{w.splitHint}</Text>
        </div>
      ) : null}
      {s.waiting && (
        <div className="note warn">
          <Text fw={600} className="warn">
            {w.waits}
          </Text>
          <Text size="sm">{run ? <Link to={run}>{s.waitingFor}</Link> : s.waitingFor}</Text>
        </div>
      )}
      {active && !s.waiting && (
        <div className="note busy">
          <Text fw={600}>
            <Link to={active}>{w.underWay}</Link>
          </Text>
        </div>
      )}
      {s.error && (
        <div className="note bad">
          <Text fw={600} className="bad" style={{ overflowWrap: 'anywhere' }}>
            {s.error}
          </Text>
          {s.hint && <Text size="sm">{s.hint}</Text>}
        </div>
      )}
      {s.warning && (
        <div className="note warn">
          <Text fw={600} className="warn">
            {s.warning}
          </Text>
          {s.warningHint && <Text size="sm">{s.warningHint}</Text>}
        </div>
      )}
      {s.progress && s.progress.total > 0 && s.replicating === 'seeding' && (
        <div className="note busy">
          <Group justify="space-between" mb={6}>
            <Text fw={600} className="busy">
              {w.seeding}
            </Text>
            <Text size="sm">
              {w.of(f.bytes(s.progress.done), f.bytes(s.progress.total))} · {f.percent(s.progress.done / s.progress.total)}
            </Text>
          </Group>
          <Progress value={(s.progress.done / s.progress.total) * 100} aria-label={w.seeding} />
        </div>
      )}
    </>
  );
}

/** The question that the page is for: what would be lost, what would be had instead, and was it ever shown to work. */
function Answer({ s, at }: { s: Schemas['Status']; at: number }) {
  const w = useMessages(words);
  const f = useFormat();
  // A point that the guests' applications agreed to; there may be none.
  const app = useGet('/v1/groups/{name}/points', { path: { name: s.group }, query: { consistency: 'application' } });
  const newest = app.data?.at(-1);
  const part = (title: string, big: React.ReactNode, text: React.ReactNode) => (
    <div>
      <Text size="sm" className="dim">
        {title}
      </Text>
      <div className="big" style={{ margin: '2px 0' }}>
        {big}
      </div>
      <Text size="sm" className="dim">
        {text}
      </Text>
    </div>
  );
  return (
    <Section>
      <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }} spacing="lg">
        {part(
          `${w.failNow}: ${w.lose}`,
          <span className={s.rpoMet ? undefined : 'warn'}>
            <Lose seconds={s.loseSeconds} at={at} />
          </span>,
          s.liveSince ? w.liveSince(f.duration((Date.now() - Date.parse(s.liveSince)) / 1000)) : w.objective(f.duration(s.rpoSeconds)),
        )}
        {part(w.appPoint, newest ? f.clock(newest.time) : '–', newest ? <Time at={newest.time} /> : w.noAppPoint)}
        {part(
          w.proven,
          s.provenAt ? <Time at={s.provenAt} ago /> : '–',
          s.provenAt ? s.provenRTOSeconds !== undefined && `${w.rto(f.duration(s.provenRTOSeconds))}` : w.notProven,
        )}
        {part(
          w.lastCycle,
          s.lastCycle ? f.duration(s.lastCycle.seconds) : '–',
          s.lastCycle ? w.cycle(f.bytes(s.lastCycle.stored), f.bytes(s.lastCycle.changed), f.duration(s.lastCycle.seconds)) : null,
        )}
      </SimpleGrid>
    </Section>
  );
}
