// What a person does next with a group: what its state allows now, not what a run left.
import { Group, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct } from '../../api/query';
import { links } from '../../app/links';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { useNow } from '../../ui/time';
import { run as words } from './messages';

type Status = Schemas['Status'];

/** Whether there is something that only a person can decide to do next. */
export function waits(s: Status): boolean {
  const may = s.allowed ?? [];
  return !s.waiting && ['commit', 'cleanup', 'reprotect', 'keep-owner', 'keep-former'].some((op) => may.includes(op));
}

export function Next({ status: s }: { status: Status }) {
  const w = useMessages(words);
  const f = useFormat();
  const now = useNow();
  const [asking, ask] = useState<string>();
  const done = { onDone: (next: { id: string } | undefined) => next && navigate(`/runs/${next.id}`) };
  const commit = useAct('post', '/v1/groups/{name}/commit', done);
  const cleanup = useAct('post', '/v1/groups/{name}/cleanup', done);
  const reprotect = useAct('post', '/v1/groups/{name}/reprotect', done);
  const resolve = useAct('post', '/v1/groups/{name}/resolve', done);
  const may = (op: string) => s.allowed?.includes(op);
  const path = { path: { name: s.group } };
  const g = quote(s.group);
  const keep = (site: string) => ({
    act: resolve, label: w.keep(site), text: w.keepText(site), cmd: `understudy split-brain resolve ${g} --keep ${quote(site)}`, typed: site, run: () => resolve.mutate({ ...path, body: { keep: site } }),
  });
  const deeds: Record<string, { act: { isPending: boolean; error: Error | null }; label: string; text: string; cmd: string; typed?: string; run: () => void }> = {
    commit: { act: commit, label: w.commit, text: w.commitText, cmd: `understudy commit ${g}`, run: () => commit.mutate(path) },
    cleanup: { act: cleanup, label: w.cleanup, text: w.cleanupText, cmd: `understudy cleanup ${g}`, run: () => cleanup.mutate(path) },
    reprotect: { act: reprotect, label: w.reprotect, text: w.reprotectText, cmd: `understudy reprotect ${g}`, run: () => reprotect.mutate(path) },
    'keep-owner': keep(s.site),
    'keep-former': keep(s.target),
  };
  const open = Object.keys(deeds).filter(may);
  const deed = asking ? deeds[asking] : undefined;
  const since = s.liveSince && f.duration(Math.max(0, now - Date.parse(s.liveSince)) / 1000);
  return (
    <section className="note busy">
      <Stack gap="sm">
        <Text fw={600}>{w.next}</Text>
        <Text size="sm">
          {may('keep-owner') || may('keep-former') ? w.decide : may('commit') ? w.watchTo : may('reprotect') ? w.unprotected : w.afterTest}
          {since && !may('keep-owner') && ` ${w.since(s.site, since)}`}
        </Text>
        <Group>
          {open.map((op, i) => (
            <Deed key={op} verb={op === 'cleanup' ? 'test-failover' : 'failover'} variant={i === 0 && !op.startsWith('keep') ? 'filled' : 'default'} onClick={() => ask(op)}>
              {deeds[op]?.label}
            </Deed>
          ))}
          {may('change-point') && (
            <Deed verb="failover" variant="default" onClick={() => navigate(links.failover(s.group, { kind: 'unplanned' }))}>
              {w.choose}
            </Deed>
          )}
        </Group>
      </Stack>
      {deed && (
        <Confirm opened onClose={() => ask(undefined)} title={deed.label} action={deed.label} typed={deed.typed} danger={!!deed.typed} busy={deed.act.isPending} problem={deed.act.error} cmd={deed.cmd} onConfirm={deed.run}>
          <Text size="sm">{deed.text}</Text>
        </Confirm>
      )}
    </section>
  );
}

/** Below a run that has ended: what comes next, when it is this run that the group's state is about. */
export function After({ run: r, status: s }: { run: Schemas['Run']; status: Status }) {
  const w = useMessages(words);
  const mine = s.run === r.id || s.testRun === r.id || (r.kind === 'commit' && s.state === 'committed');
  if (mine && waits(s)) return <Next status={s} />;
  if (r.kind !== 'reprotect' || s.state !== 'protected') return null;
  return (
    <section className="note busy">
      <Stack gap="sm">
        <Text fw={600}>{w.next}</Text>
        <Group>
          <Deed verb="failover" onClick={() => navigate(links.failover(r.group, { kind: 'planned' }))}>
            {w.failback}
          </Deed>
        </Group>
      </Stack>
    </section>
  );
}
