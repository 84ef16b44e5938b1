// Channels and rules of notifications, what lasts, and what was told.
import { Button, Group, MultiSelect, Select, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../../api/client';
import { useAct, useGet } from '../../api/query';
import { useMessages } from '../../i18n/i18n';
import { Fact, type Tone } from '../../ui/badge';
import { Cli, quote } from '../../ui/cli';
import { Confirm } from '../../ui/confirm';
import { Empty } from '../../ui/empty';
import { Deed } from '../../ui/may';
import { Loaded, Section } from '../../ui/page';
import { ProblemNote } from '../../ui/problem';
import { Table } from '../../ui/table';
import { Time } from '../../ui/time';
import { settings as words } from './messages';

type Channel = Schemas['Channel'];
type Rule = Schemas['NotificationRule'];

export function Notifications() {
  return (
    <Stack>
      <Channels />
      <Rules />
      <Shared />
      <History />
    </Stack>
  );
}

function Channels() {
  const w = useMessages(words);
  const list = useGet('/v1/channels');
  const [adding, add] = useState(false);
  const test = useAct('post', '/v1/channels/{name}/test');
  const removal = useAct('delete', '/v1/channels/{name}');
  const button = (
    <Deed verb="configure" size="xs" onClick={() => add(true)}>
      {w.addChannel}
    </Deed>
  );
  return (
    <>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Empty title={w.noChannels} action={button} cmd="understudy notify add ops --kind slack --secret file:/etc/understudy/slack-url">
              {w.noChannelsText}
            </Empty>
          ) : (
            <Table
              title={w.channels}
              aside={button}
              label={w.channels}
              rows={data}
              by={(c) => c.name}
              columns={[
                { title: w.channel, cell: (c) => c.name },
                { title: w.kind, cell: (c) => c.kind },
                { title: w.where, cell: (c) => <Text size="sm" style={{ overflowWrap: 'anywhere' }}>{[c.url, ...(c.to ?? [])].filter(Boolean).join(' · ') || c.secret}</Text> },
                {
                  n: true,
                  cell: (c) => (
                    <Group gap="xs" justify="end" wrap="nowrap">
                      {test.isSuccess && test.variables?.path?.name === c.name && <Fact tone="good">{w.tested}</Fact>}
                      <Deed verb="configure" size="xs" variant="default" loading={test.isPending && test.variables?.path?.name === c.name} onClick={() => test.mutate({ path: { name: c.name } })}>
                        {w.test}
                      </Deed>
                      <Deed verb="configure" size="xs" variant="default" onClick={() => removal.mutate({ path: { name: c.name } })}>
                        {w.remove}
                      </Deed>
                    </Group>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      <ProblemNote problem={test.error ?? removal.error} />
      {adding && <AddChannel onClose={() => add(false)} />}
    </>
  );
}

const kinds: Channel['kind'][] = ['smtp', 'slack', 'teams', 'webhook'];

function AddChannel({ onClose }: { onClose: () => void }) {
  const w = useMessages(words);
  const [c, set] = useState<Channel>({ name: '', kind: 'smtp' });
  const put = useAct('put', '/v1/channels/{name}', { onDone: onClose });
  const text = (key: 'name' | 'url' | 'secret' | 'user' | 'from') => ({ value: c[key] ?? '', onChange: (e: { currentTarget: { value: string } }) => set({ ...c, [key]: e.currentTarget.value || (key === 'name' ? '' : undefined) }), spellCheck: false });
  const cmd = `understudy notify add ${quote(c.name || 'NAME')} --kind ${c.kind}${c.url ? ` --url ${quote(c.url)}` : ''}${c.secret ? ` --secret ${quote(c.secret)}` : ''}${c.user ? ` --user ${quote(c.user)}` : ''}${c.from ? ` --from ${quote(c.from)}` : ''}${(c.to ?? []).map((t) => ` --to ${quote(t)}`).join('')}`;
  return (
    <Confirm opened onClose={onClose} title={w.addChannel} action={w.add} busy={put.isPending} problem={put.error} cmd={cmd} onConfirm={() => put.mutate({ path: { name: c.name }, body: c })}>
      <TextInput label={w.name} required {...text('name')} />
      <Select label={w.kind} data={kinds} value={c.kind} onChange={(v) => v && set({ ...c, kind: v as Channel['kind'] })} allowDeselect={false} />
      <TextInput label={w.url} placeholder={c.kind === 'smtp' ? 'smtp://mail.example.com:587' : 'https://'} {...text('url')} />
      <TextInput label={w.secret} {...text('secret')} />
      {c.kind === 'smtp' && (
        <>
          <TextInput label={w.user} {...text('user')} />
          <TextInput label={w.from} required {...text('from')} />
          <Textarea label={w.to} required value={(c.to ?? []).join('\n')} onChange={(e) => set({ ...c, to: e.currentTarget.value.split('\n') })} autosize minRows={2} />
        </>
      )}
    </Confirm>
  );
}

const topics = ['failover', 'approval', 'lag', 'replication', 'drill', 'split-brain', 'vault', 'copy', 'test', 'monitor'];

function Rules() {
  const w = useMessages(words);
  const list = useGet('/v1/notification-rules');
  const [adding, add] = useState(false);
  const removal = useAct('delete', '/v1/notification-rules/{name}');
  const lets = (r: Rule) => [...(r.topics ?? []), ...(r.kinds ?? []), ...(r.severity ? [`≥ ${r.severity}`] : []), ...(r.groups ?? []), ...(r.sites ?? [])].join(', ') || w.any;
  const button = (
    <Deed verb="configure" size="xs" variant="default" onClick={() => add(true)}>
      {w.addRule}
    </Deed>
  );
  return (
    <>
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Section title={w.rules} aside={button}>
              <Text className="dim">{w.noRules}</Text>
            </Section>
          ) : (
            <Table
              title={w.rules}
              aside={button}
              label={w.rules}
              rows={data}
              by={(r) => r.name}
              columns={[
                { title: w.rule, cell: (r) => r.name },
                { title: w.lets, cell: lets },
                { title: w.channels, cell: (r) => r.channels.join(', ') },
                {
                  n: true,
                  cell: (r) => (
                    <Deed verb="configure" size="xs" variant="default" onClick={() => removal.mutate({ path: { name: r.name } })}>
                      {w.remove}
                    </Deed>
                  ),
                },
              ]}
            />
          )
        }
      </Loaded>
      <ProblemNote problem={removal.error} />
      {adding && <AddRule onClose={() => add(false)} />}
    </>
  );
}

function AddRule({ onClose }: { onClose: () => void }) {
  const w = useMessages(words);
  const channels = useGet('/v1/channels');
  const [r, set] = useState<Rule>({ name: '', channels: [] });
  const put = useAct('put', '/v1/notification-rules/{name}', { onDone: onClose });
  const cmd = `understudy notify rule add ${quote(r.name || 'NAME')}${r.channels.map((c) => ` --channel ${quote(c)}`).join('')}${(r.topics ?? []).map((t) => ` --topic ${t}`).join('')}${r.severity ? ` --severity ${r.severity}` : ''}${(r.groups ?? []).map((g) => ` --group ${quote(g)}`).join('')}`;
  return (
    <Confirm opened onClose={onClose} title={w.addRule} action={w.add} busy={put.isPending} problem={put.error} cmd={cmd} onConfirm={() => put.mutate({ path: { name: r.name }, body: r })}>
      <TextInput label={w.name} required value={r.name} onChange={(e) => set({ ...r, name: e.currentTarget.value })} spellCheck={false} />
      <MultiSelect label={w.channels} data={(channels.data ?? []).map((c) => c.name)} value={r.channels} onChange={(v) => set({ ...r, channels: v })} required />
      <MultiSelect label={w.topics} data={topics} value={r.topics ?? []} onChange={(v) => set({ ...r, topics: v as Rule['topics'] })} placeholder={w.any} />
      <Select label={w.severity} data={['info', 'warning', 'critical']} value={r.severity ?? null} onChange={(v) => set({ ...r, severity: (v ?? undefined) as Rule['severity'] })} clearable />
      <TextInput label={w.groups} value={(r.groups ?? []).join(' ')} onChange={(e) => set({ ...r, groups: e.currentTarget.value.split(/\s+/).filter(Boolean) })} spellCheck={false} />
    </Confirm>
  );
}

function Shared() {
  const w = useMessages(words);
  const now = useGet('/v1/notification-settings');
  const put = useAct('put', '/v1/notification-settings');
  const [changed, change] = useState<Schemas['NotificationSettings']>();
  const s = changed ?? now.data ?? {};
  return (
    <Section>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          put.mutate({ body: s }, { onSuccess: () => change(undefined) });
        }}
      >
        <Stack>
          <Group align="end">
            <TextInput label={w.console} value={s.console ?? ''} placeholder={location.origin} onChange={(e) => change({ ...s, console: e.currentTarget.value || undefined })} spellCheck={false} w={420} maw="100%" />
            <TextInput label={w.repeat} value={s.repeat ?? ''} placeholder="4h" onChange={(e) => change({ ...s, repeat: e.currentTarget.value || undefined })} spellCheck={false} w={260} />
            <Deed verb="configure" type="submit" variant="default" loading={put.isPending} reason={changed ? undefined : w.save}>
              {w.save}
            </Deed>
          </Group>
          <ProblemNote problem={put.error ?? now.error} />
          <Cli cmd={`understudy notify settings${s.console ? ` --console ${quote(s.console)}` : ''}${s.repeat ? ` --repeat ${quote(s.repeat)}` : ''}`} />
        </Stack>
      </form>
    </Section>
  );
}

const tones: Record<string, Tone> = { sent: 'good', waiting: 'busy', dead: 'bad' };

function History() {
  const w = useMessages(words);
  const list = useGet('/v1/notifications');
  const retry = useAct('post', '/v1/notifications/{number}/retry');
  const drop = useAct('delete', '/v1/notifications/{number}');
  return (
    <>
      <ProblemNote problem={retry.error ?? drop.error} />
      <Loaded from={list}>
        {(data) =>
          data.length === 0 ? (
            <Section title={w.history}>
              <Text className="dim">{w.none}</Text>
            </Section>
          ) : (
            <Table
              title={w.history}
              label={w.history}
              rows={data}
              by={(n) => String(n.number)}
              columns={[
                { title: w.when, cell: (n) => <Time at={n.time} short /> },
                { title: w.subject, cell: (n) => <>{n.subject}{n.problem && <Text size="xs" className="bad">{n.problem}</Text>}</> },
                { title: w.channel, cell: (n) => n.channel },
                { title: w.state, cell: (n) => <Fact tone={tones[n.state] ?? 'idle'}>{w[n.state]}</Fact> },
                {
                  n: true,
                  cell: (n) =>
                    n.state === 'dead' && (
                      <Group gap="xs" justify="end" wrap="nowrap">
                        <Button size="xs" variant="default" onClick={() => retry.mutate({ path: { number: n.number } })}>
                          {w.retry}
                        </Button>
                        <Button size="xs" variant="default" onClick={() => drop.mutate({ path: { number: n.number } })}>
                          {w.drop}
                        </Button>
                      </Group>
                    ),
                },
              ]}
            />
          )
        }
      </Loaded>
    </>
  );
}
