// The point that was chosen, and what can be done with it.
import { Group, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { IconCopy, IconDownload, IconEye, IconFlag, IconFlagFilled, IconTestPipe } from '@tabler/icons-react';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { links } from '../../app/links';
import { navigate } from '../../app/router';
import { useMessages } from '../../i18n/i18n';
import { Fact } from '../../ui/badge';
import { quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { useFormat } from '../../ui/format';
import { Deed } from '../../ui/may';
import { Section } from '../../ui/page';
import { fieldError, ProblemNote } from '../../ui/problem';
import { Time, useNow } from '../../ui/time';
import { Copy } from '../machine/copy';
import { points as words } from './messages';
import { Mount, Readers, Restore } from './takeout';

interface Props {
  group: string;
  /** Those of the group, when they are known; the target is the last. */
  sites: string[];
  point: Schemas['RecoveryPoint'];
  proven: boolean;
  newest: boolean;
}

export function Chosen({ group, sites, point: p, proven, newest }: Props) {
  const w = useMessages(words);
  const f = useFormat();
  const now = useNow();
  const [asks, setAsks] = useState<'test' | 'name' | 'clone' | 'restore' | 'mount' | { unname: string }>();
  const [name, setName] = useState('');
  const close = () => setAsks(undefined);
  const test = useAct('post', '/v1/groups/{name}/failover', {
    onDone: (run) => {
      close();
      const to = links.run(run.id);
      if (to) navigate(to);
    },
  });
  const give = useAct('post', '/v1/groups/{name}/points/{point}/names', { onDone: close });
  const take = useAct('delete', '/v1/groups/{name}/point-names/{label}', { onDone: close });
  const [g, id] = [quote(group), quote(p.id)];
  const machines = useGet('/v1/groups/{name}/points/{point}/machines', { path: { name: group, point: p.id } }, { enabled: asks === 'clone' });
  const label = typeof asks === 'object' ? asks.unname : '';
  return (
    <>
      <Section
        title={w.selected}
        aside={
          <Group gap="xs">
            <Deed verb="replicate" size="xs" variant="default" leftSection={<IconFlag size={15} />} onClick={() => setAsks('name')}>
              {w.name}
            </Deed>
            <Deed verb="test-failover" size="xs" variant="default" leftSection={<IconTestPipe size={15} />} onClick={() => setAsks('test')}>
              {w.test}
            </Deed>
            <Deed verb="failover" size="xs" onClick={() => navigate(links.failover(group, { kind: 'unplanned', point: p.id }))}>
              {w.failover}
            </Deed>
          </Group>
        }
      >
        <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
          <Stack gap="xs">
            <Text fz="lg" fw={650}>
              <Time at={p.time} />
            </Text>
            <Group gap={6}>
              <Fact tone={p.kind === 'application' ? 'good' : p.kind === 'filesystem' ? 'busy' : 'idle'}>{w[p.kind as 'crash'] ?? p.kind}</Fact>
              {proven && <Fact tone="good">{w.provenMark}</Fact>}
              {newest && <Fact tone="idle">{w.latest}</Fact>}
            </Group>
            <dl className="pairs">
              <dt>{w.lose}</dt>
              <dd>{f.duration(Math.max(0, (now - Date.parse(p.time)) / 1000))}</dd>
              <dt>ID</dt>
              <dd>
                <code>{p.id}</code>
              </dd>
              <dt>{w.changed}</dt>
              <dd>
                {f.bytes(p.changed)} · {w.stored.toLowerCase()} {f.bytes(p.bytes)}
              </dd>
              <dt>{w.size}</dt>
              <dd>
                {f.bytes(p.size)} · {p.machines.join(', ')}
              </dd>
              {p.names?.length ? (
                <>
                  <dt>{w.names}</dt>
                  <dd>
                    <Group gap={6}>
                      {p.names.map((n) => (
                        <Deed key={n} verb="replicate" size="compact-xs" variant="light" leftSection={<IconFlagFilled size={12} />} onClick={() => setAsks({ unname: n })}>
                          {n}
                        </Deed>
                      ))}
                    </Group>
                  </dd>
                </>
              ) : null}
            </dl>
          </Stack>
          <Stack gap="xs">
            <Text size="sm" fw={600}>
              {w.otherWays}
            </Text>
            {(
              [
                ['copy', 'clone', w.clone, IconCopy],
                ['export', 'restore', w.restore, IconDownload],
                ['export', 'mount', w.mount, IconEye],
              ] as const
            ).map(([verb, what, text, Icon]) => (
              // A right to a group is none to make machines at its sites.
              <Deed key={what} verb={verb} on={verb === 'copy' ? { sites } : undefined} size="sm" variant="default" justify="start" leftSection={<Icon size={16} />} onClick={() => setAsks(what)} style={{ alignSelf: 'start' }}>
                {text}
              </Deed>
            ))}
          </Stack>
        </SimpleGrid>
        <Confirm
          opened={asks === 'test'}
          onClose={close}
          title={w.testTitle}
          action={w.test}
          onConfirm={() => test.mutate({ path: { name: group }, body: { kind: 'test', point: p.id } })}
          busy={test.isPending}
          problem={test.error}
          cmd={`understudy failover ${g} --test --point ${id}`}
        >
          <Text size="sm">{w.testText(f.dateTime(p.time))}</Text>
        </Confirm>
        <Confirm
          opened={asks === 'name'}
          onClose={close}
          title={w.nameTitle}
          action={w.name}
          onConfirm={() => give.mutate({ path: { name: group, point: p.id }, body: { name } })}
          busy={give.isPending}
          problem={give.error}
          cmd={`understudy points name ${g} ${id} ${name ? quote(name) : 'NAME'}`}
        >
          <Text size="sm">{w.nameText}</Text>
          <TextInput label={w.nameLabel} value={name} onChange={(e) => setName(e.currentTarget.value)} error={fieldError(give.error, 'name')} required data-autofocus autoComplete="off" />
        </Confirm>
        <Confirm
          opened={!!label}
          onClose={close}
          title={w.unname(label)}
          action={w.remove}
          onConfirm={() => take.mutate({ path: { name: group, label } })}
          busy={take.isPending}
          problem={take.error}
          cmd={`understudy points unname ${g} ${quote(label)}`}
        >
          <Text size="sm">{w.unnameText}</Text>
        </Confirm>
        {asks === 'clone' && machines.data && !machines.isPlaceholderData && (
          <Copy kind="clone" machines={machines.data} from={{ group, point: p.id, time: p.time }} to={sites.at(-1)} onClose={close} />
        )}
        {asks === 'clone' && <ProblemNote problem={machines.error} />}
        {asks === 'restore' && <Restore group={group} point={p} onClose={close} />}
        {asks === 'mount' && <Mount group={group} point={p} onClose={close} />}
      </Section>
      <Readers group={group} />
    </>
  );
}
