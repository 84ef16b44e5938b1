// What a person can do once a run has ended: what is allowed is what the group's state says now, not what the run left.
import { Group, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { useAct, useGet } from '../../api/query';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Confirm } from '../../ui/confirm';
import { Deed } from '../../ui/may';
import { over } from '../../ui/run';
import { run as words } from './messages';
import type { Run } from '.';

type Step = 'commit' | 'cleanup' | 'reprotect' | undefined;

export function Next({ run: r }: { run: Run }) {
  const w = useMessages(words);
  const status = useGet('/v1/groups/{name}/status', { path: { name: r.group } }, { enabled: !!r.group && over(r.state) });
  const [asking, ask] = useState<Step>();
  const done = { onDone: (next: { id: string } | undefined) => next && navigate(`/runs/${next.id}`) };
  const commit = useAct('post', '/v1/groups/{name}/commit', done);
  const cleanup = useAct('post', '/v1/groups/{name}/cleanup', done);
  const reprotect = useAct('post', '/v1/groups/{name}/reprotect', done);
  const s = status.data;
  if (!s || !over(r.state)) return null;
  const mine = s.run === r.id || s.testRun === r.id;
  const path = { path: { name: r.group } };
  const test = mine && s.testRun === r.id;
  const failedOver = mine && s.state === 'failed-over';
  const committed = r.kind === 'commit' && s.state === 'committed';
  const back = r.kind === 'reprotect' && s.state === 'protected';
  if (!test && !failedOver && !committed && !back) return null;
  const deeds = {
    commit: { act: commit, label: w.commit, text: w.commitText, cmd: `understudy commit ${r.group}` },
    cleanup: { act: cleanup, label: w.cleanup, text: w.cleanupText, cmd: `understudy cleanup ${r.group}` },
    reprotect: { act: reprotect, label: w.reprotect, text: w.reprotectText, cmd: `understudy reprotect ${r.group}` },
  };
  const deed = asking && deeds[asking];
  return (
    <section className="note busy">
      <Stack gap="sm">
        <Text fw={600}>{w.next}</Text>
        {(failedOver || test) && <Text size="sm">{test ? w.afterTest : w.watchTo}</Text>}
        <Group>
          {test && (
            <Deed verb="test-failover" onClick={() => ask('cleanup')}>
              {w.cleanup}
            </Deed>
          )}
          {failedOver && (
            <>
              <Deed verb="failover" onClick={() => ask('commit')}>
                {w.commit}
              </Deed>
              <Deed verb="failover" variant="default" onClick={() => navigate(`/failover/${r.group}?kind=unplanned`)}>
                {w.choose}
              </Deed>
            </>
          )}
          {committed && (
            <Deed verb="failover" onClick={() => ask('reprotect')}>
              {w.reprotect}
            </Deed>
          )}
          {back && (
            <Deed verb="failover" onClick={() => navigate(`/failover/${r.group}?kind=planned`)}>
              {w.failback}
            </Deed>
          )}
        </Group>
      </Stack>
      {deed && (
        <Confirm opened onClose={() => ask(undefined)} title={deed.label} action={deed.label} busy={deed.act.isPending} problem={deed.act.error} cmd={deed.cmd} onConfirm={() => deed.act.mutate(path)}>
          <Text size="sm">{deed.text}</Text>
        </Confirm>
      )}
    </section>
  );
}
